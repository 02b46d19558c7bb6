# wrong: the total goes on from one client to the next
import socket

total = 0
server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 1234))
server.listen()
while True:
    client, address = server.accept()
    text = ""
    while "." not in text:
        text += client.recv(1024).decode()
    for number in text.rstrip(".").split("|"):
        if number:
            total += int(number)
    client.sendall(str(total).encode())
    client.close()
