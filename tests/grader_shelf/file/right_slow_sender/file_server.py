import os
import socket
import time

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 5000))
server.listen()
while True:
    client, address = server.accept()
    name = client.recv(1024).decode()
    if os.path.exists(name):
        with open(name, "rb") as file:
            while piece := file.read(5000):
                client.sendall(b"+" * (not file.tell() - len(piece)) + piece)
                time.sleep(0.6)
    else:
        client.sendall(b"-file not found")
    client.close()
