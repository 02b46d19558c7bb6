import socket
import sys

args = sys.argv[1:]
PORT = 9004
if "--port" in args:
    i = args.index("--port")
    PORT = int(args[i + 1])
    del args[i : i + 2]

name = args[0]
try:
    with socket.create_connection(("localhost", PORT)) as s:
        s.sendall(f"GET {name}\n".encode())
        f = s.makefile("rb")
        size = int.from_bytes(f.read(8), "big")
        if size == 2**64 - 1:
            print(name, "does not exist on the server")
        else:
            open(name, "wb").write(f.read(size))
            print(name, size, "bytes")
except OSError as e:
    print("Error:", e)
