# wrong: the report is printed, no file is written
import hashlib
import sys
from datetime import datetime
from urllib.request import urlopen

begin = datetime.now()
with urlopen(sys.argv[1]) as r:
    took = datetime.now() - begin
    size = 0
    hashes = []
    while True:
        chunk = r.read(1000)
        if not chunk:
            break
        size += len(chunk)
        hashes.append(hashlib.md5(chunk).hexdigest())
    status = r.getcode()
    kind = r.info().get_content_type()

print("response status", status)
print("response size", size)
print("response type", kind)
for n, h in enumerate(hashes, 1):
    print("fragment", n, h)
print("server response time", took)
