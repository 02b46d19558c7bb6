import argparse
import socket
import sys

parser = argparse.ArgumentParser()
parser.add_argument("filename")
parser.add_argument("--port", type=int, default=9004)
args = parser.parse_args()

try:
    conn = socket.create_connection(("localhost", args.port))
except OSError as e:
    print("Cannot connect to the server:", e)
    sys.exit(1)

conn.sendall(args.filename.encode())
f = conn.makefile("rb")
status = f.readline().decode().split()
if status[0] == "ERROR":
    print("The server says:", " ".join(status[1:]))
    sys.exit(1)
content = f.read(int(status[1]))
with open(args.filename, "wb") as out:
    out.write(content)
print("Saved", args.filename, len(content), "bytes")
