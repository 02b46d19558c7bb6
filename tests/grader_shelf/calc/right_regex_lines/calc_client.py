import socket
import sys

port = 9002
if "--port" in sys.argv:
    port = int(sys.argv[sys.argv.index("--port") + 1])

sock = socket.create_connection(("localhost", port))
f = sock.makefile("rw")
print(f.readline(), end="")
for line in sys.stdin:
    f.write(line)
    f.flush()
    print(f.readline(), end="")
