import hashlib
import sys
import time
import urllib.request

url = sys.argv[1]

start = time.time()
response = urllib.request.urlopen(url)
end = time.time()
content = response.read()

with open("report.txt", "w") as f:
    f.write(f"Status: {response.status}\n")
    f.write(f"Size: {len(content)} bytes\n")
    f.write(f"Type: {response.headers.get('Content-Type', 'unknown')}\n")
    for i in range(0, len(content), 1000):
        f.write(f"MD5: {hashlib.md5(content[i : i + 1000]).hexdigest()}\n")
    f.write(f"Response time: {end - start} seconds\n")
