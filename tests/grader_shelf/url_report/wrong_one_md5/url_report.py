# wrong: one MD5 of the whole response, not one for each 1000 bytes
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
    f.write(f"MD5: {hashlib.md5(content).hexdigest()}\n")
    f.write(f"Response time: {end - start} seconds\n")
