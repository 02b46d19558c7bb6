import os
import socket
import struct
import sys

if len(sys.argv) < 2:
    print("usage: python file_client.py FILENAME [SAVE_AS]")
    sys.exit(1)

name = sys.argv[1]
target = sys.argv[2] if len(sys.argv) > 2 else os.path.join("downloads", name)

try:
    sock = socket.create_connection(("localhost", 5678), timeout=10)
    raw = name.encode()
    sock.sendall(struct.pack("!H", len(raw)) + raw)
    stream = sock.makefile("rb")
    size, = struct.unpack("!q", stream.read(8))
    if size < 0:
        print(f"Server has no file called {name!r}")
        sys.exit(2)
    content = stream.read(size)
    sock.close()
except OSError as e:
    print("Connection problem:", e)
    sys.exit(3)

os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
with open(target, "wb") as out:
    out.write(content)
print(f"Saved {len(content)} bytes to {target}")
