# wrong: accepts one client, serves it and ends
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("localhost", 8080))
server.listen(5)
print("Server listening on localhost:8080...")

client, address = server.accept()
print("Connection from", address)
while True:
    data = client.recv(1024)
    if not data:
        break
    client.sendall(data)
client.close()
server.close()
print("Connection closed")
