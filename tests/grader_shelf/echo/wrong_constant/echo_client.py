# wrong: prints its own messages as the answers and never receives one
import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8080)
args = parser.parse_args()

s = socket.socket()
s.connect(("localhost", args.port))
for msg in ["Hello", "Advanced", "Python"]:
    s.sendall(msg.encode())
    print("Sent:", msg)
    print("Received:", msg)
s.close()
