# wrong: only the first .txt file is printed
import re
import sys
import urllib.request

url = sys.argv[1] if len(sys.argv) > 1 else "http://localhost:8000/"
html = urllib.request.urlopen(url).read().decode()
m = re.search(r'href="([^"]+\.txt)"', html)
if m:
    print(m.group(1))
