import argparse
import socket
import sys
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9001)
args = parser.parse_args()

s = socket.create_connection(("localhost", args.port))


def receive():
    while True:
        data = s.recv(1024)
        if not data:
            break
        print(data.decode(), end="")


threading.Thread(target=receive, daemon=True).start()
for line in sys.stdin:
    s.sendall(line.encode())
    if line.strip() == "/quit":
        break
s.close()
