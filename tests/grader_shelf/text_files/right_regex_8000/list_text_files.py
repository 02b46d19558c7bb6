import re
import urllib.request

html = urllib.request.urlopen("http://localhost:8000").read().decode()
for name in re.findall(r">([^<]+\.txt)</a>", html):
    print(name)
