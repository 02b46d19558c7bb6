# wrong: gets the secret from the server and compares the guesses itself
import socket

s = socket.socket()
s.connect(("127.0.0.1", 9003))
number = int(s.recv(1024))

tries = 0
while True:
    guess = int(input("Guess (1-100): "))
    tries += 1
    if guess < number:
        print("Higher")
    elif guess > number:
        print("Lower")
    else:
        print("Correct!")
        break
s.send(str(tries).encode())
s.close()
