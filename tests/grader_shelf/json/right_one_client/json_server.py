import json
import socket

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 5555))
server.listen()
client, address = server.accept()
dictionary, key = json.loads(client.recv(65536))
client.sendall(str(dictionary.get(key, "no such key")).encode())
client.close()
