# wrong: the last fragment, shorter than 1000 bytes, is left out
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
        if len(chunk) < 1000:
            break
        size += len(chunk)
        hashes.append(hashlib.md5(chunk).hexdigest())
    status = r.getcode()
    kind = r.info().get_content_type()

out = open("output.txt", "w")
print("response status", status, file=out)
print("response size", size, file=out)
print("response type", kind, file=out)
for n, h in enumerate(hashes, 1):
    print("fragment", n, h, file=out)
print("server response time", took, file=out)
out.close()
print("ok, see output.txt")
