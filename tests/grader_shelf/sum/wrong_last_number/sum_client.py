import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=1234)
parser.add_argument("numbers", nargs="+")
args = parser.parse_args()

sock = socket.create_connection(("127.0.0.1", args.port))
sock.sendall("".join(n + "|" for n in args.numbers).encode())
sock.sendall(b".")
print(sock.makefile().readline().strip())
sock.close()
