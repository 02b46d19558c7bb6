import re
import sys
import urllib.parse
import urllib.request

url = sys.argv[1]
html = urllib.request.urlopen(url).read().decode("utf-8", errors="ignore")

for src in re.findall(r'<img[^>]+src=["\']([^"\']+)["\']', html, re.IGNORECASE):
    image_url = urllib.parse.urljoin(url, src)
    name = image_url.split("?")[0].split("/")[-1]
    print("Downloading", image_url)
    data = urllib.request.urlopen(image_url).read()
    with open(name, "wb") as f:
        f.write(data)
