import argparse
import random
import socket
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9003)
args = parser.parse_args()


def play(conn, addr):
    secret = random.randint(1, 100)
    print(addr, "has to guess", secret)
    while True:
        data = conn.recv(1024)
        if not data:
            break
        try:
            guess = int(data.decode())
        except ValueError:
            conn.sendall(b"not a number")
            continue
        if guess < secret:
            conn.sendall(b"higher")
        elif guess > secret:
            conn.sendall(b"lower")
        else:
            conn.sendall(b"correct")
            break
    conn.close()


server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind(("localhost", args.port))
server.listen()
while True:
    conn, addr = server.accept()
    t = threading.Thread(target=play, args=(conn, addr), daemon=True)
    t.start()
