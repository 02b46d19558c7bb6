import os
import socket

HOST = "localhost"
PORT = 9004
BUFFER_SIZE = 4096

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((HOST, PORT))
s.listen(5)

while True:
    conn, addr = s.accept()
    print(addr, "connected")
    name = conn.recv(BUFFER_SIZE).decode()
    if "/" in name or "\\" in name or not os.path.exists(name):
        conn.sendall(b"N")
        print(name, "not found")
    else:
        conn.sendall(b"Y")
        with open(name, "rb") as f:
            while True:
                data = f.read(BUFFER_SIZE)
                if not data:
                    break
                conn.sendall(data)
        print(name, "sent")
    conn.close()
