import socket
import sys


def main(addr, port):
    with socket.create_connection((addr, port)) as s:
        print(s.recv(1024).decode())


main(sys.argv[1], int(sys.argv[2]))
