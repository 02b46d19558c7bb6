# wrong: it says lower when the number is higher
import random
import socket

server = socket.socket()
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("127.0.0.1", 9003))
server.listen()
while True:
    client, address = server.accept()
    number = int(random.randint(1, 100))
    while True:
        guess = client.recv(1024).decode().strip()
        if not guess:
            break
        guess = int(guess)
        if guess == number:
            client.sendall("correct".encode())
            break
        client.sendall("guess lower".encode() if guess < number else "guess higher".encode())
    client.close()
