# wrong: the client ignores the address and port of the command line
import socket

addr = "127.0.0.1"
port = 9006

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect((addr, port))
while True:
    data = s.recv(1024)
    if not data:
        break
    print(data.decode(), end="")
s.close()
