import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9003)
args = parser.parse_args()

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("localhost", args.port))
print("Guess a number from 1 to 100")
while True:
    guess = input("Your guess: ")
    s.sendall(guess.encode())
    hint = s.recv(1024).decode()
    print(hint)
    if hint == "correct":
        break
s.close()
