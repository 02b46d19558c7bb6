import random
import socket

number = random.randint(1, 50)

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 9003))
s.listen(1)
print("Waiting for a player...")
c, addr = s.accept()
print("Player:", addr)
c.send(b"I think of a number between 1 and 50. Guess!\n")

tries = 0
while True:
    guess = c.recv(1024).decode().strip()
    if guess == "":
        break
    tries += 1
    if int(guess) == number:
        c.send(f"You win! You needed {tries} tries.\n".encode())
        break
    if int(guess) > number:
        c.send(b"Too high! Try a lower number.\n")
    else:
        c.send(b"Too low! Try a higher number.\n")

c.close()
s.close()
