# wrong: the pattern \w+\.txt cuts names with a hyphen, a space or a second dot (my-notes.txt becomes notes.txt)
import re
import sys
import urllib.request

url = "http://localhost:8000"
if len(sys.argv) > 1:
    url = sys.argv[1]

data = urllib.request.urlopen(url).read().decode("utf-8")
names = sorted(set(re.findall(r"\w+\.txt\b", data)))
for n in names:
    print(n)
