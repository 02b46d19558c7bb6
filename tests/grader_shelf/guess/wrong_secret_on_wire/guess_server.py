# wrong: sends its secret to the client, which compares the guesses itself
import random
import socket

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 9003))
s.listen()
while True:
    c, addr = s.accept()
    number = random.randint(1, 100)
    c.send(str(number).encode())
    print(addr, "needed", c.recv(1024).decode(), "tries")
    c.close()
