import argparse
import socket

parser = argparse.ArgumentParser(description="sends one UDP packet")
parser.add_argument("addr")
parser.add_argument("port", type=int)
parser.add_argument("msg")
a = parser.parse_args()

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
n = sock.sendto(bytes(a.msg, "utf-8"), (a.addr, a.port))
print("Sent", n, "bytes")
