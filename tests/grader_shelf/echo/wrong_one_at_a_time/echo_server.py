# wrong: a second client gets no answer until the first one has gone (no threads)
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("localhost", 8080))
server.listen(5)
print("Server listening on localhost:8080...")

while True:
    client, address = server.accept()
    print("Connection from", address)
    while True:
        data = client.recv(1024)
        if not data:
            break
        client.sendall(data)
    client.close()
    print("Connection closed")
