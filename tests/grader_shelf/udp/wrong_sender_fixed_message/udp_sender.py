# wrong: sends a fixed text and not the msg of the command line
import argparse
import socket

parser = argparse.ArgumentParser(description="sends one UDP packet")
parser.add_argument("addr")
parser.add_argument("port", type=int)
parser.add_argument("msg")
a = parser.parse_args()

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = sock.sendto(b"Hello, server", (a.addr, a.port))
print("Sent", n, "bytes")
