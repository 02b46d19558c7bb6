# wrong: images are saved as decoded text and are damaged
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
    data = urllib.request.urlopen(image_url).read().decode(errors="ignore")
    with open(name, "w") as f:
        f.write(data)
