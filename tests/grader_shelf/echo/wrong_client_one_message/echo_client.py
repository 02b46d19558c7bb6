# wrong: the client sends one message, not three
import socket
import sys

PORT = 9000
if "--port" in sys.argv:
    PORT = int(sys.argv[sys.argv.index("--port") + 1])

with socket.create_connection(("localhost", PORT)) as s:
    f = s.makefile("rw")
    f.write("Hello\n")
    f.flush()
    print("Server says:", f.readline().strip())
