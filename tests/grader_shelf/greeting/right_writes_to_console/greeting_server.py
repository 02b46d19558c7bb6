import datetime
import socket

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("", 9006))
server.listen(5)
print("Server started")

while True:
    client, address = server.accept()
    now = datetime.datetime.now().strftime("%d/%m/%Y %H:%M:%S")
    print("Time:", now)
    print("Client address:", address[0])
    print("Client port:", address[1])
    client.close()
