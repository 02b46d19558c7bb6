# wrong: a file that does not exist: the client saves the error message as the file
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
content = f.read()
with open(args.filename, "wb") as out:
    out.write(content)
print("Saved", args.filename, len(content), "bytes")
