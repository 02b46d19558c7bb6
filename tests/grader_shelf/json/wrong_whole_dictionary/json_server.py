# wrong: the whole dictionary comes back, whatever the key is
import json
import socket

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 9005))
server.listen()
while True:
    client, address = server.accept()
    request = json.loads(client.recv(65536))
    client.sendall(json.dumps(request).encode() + b"\n")
    client.close()
