import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("expression")
parser.add_argument("--port", type=int, default=9002)
args = parser.parse_args()

with socket.create_connection(("localhost", args.port)) as conn:
    conn.sendall(args.expression.encode() + b"\n")
    print(args.expression, "=", conn.recv(1024).decode().strip())
