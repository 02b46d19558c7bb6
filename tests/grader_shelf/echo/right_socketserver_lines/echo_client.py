import socket
import sys

PORT = 9000
if "--port" in sys.argv:
    PORT = int(sys.argv[sys.argv.index("--port") + 1])

with socket.create_connection(("localhost", PORT)) as s:
    f = s.makefile("rw")
    for word in ["Hello", "Advanced", "Python"]:
        f.write(word + "\n")
        f.flush()
        print("Server says:", f.readline().strip())
