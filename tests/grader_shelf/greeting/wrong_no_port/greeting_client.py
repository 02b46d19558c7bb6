import socket
import sys

addr = sys.argv[1]
port = int(sys.argv[2])

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((addr, port))
while True:
    data = s.recv(1024)
    if not data:
        break
    print(data.decode(), end="")
s.close()
