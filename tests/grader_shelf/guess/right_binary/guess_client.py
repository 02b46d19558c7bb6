#!/usr/bin/env python3
import argparse
import socket
import struct

MESSAGES = {1: "too low", 2: "too high", 0: "that's it!"}

ap = argparse.ArgumentParser(description="guessing game client")
ap.add_argument("--host", default="127.0.0.1")
ap.add_argument("-p", "--port", type=int, default=7777)
args = ap.parse_args()

with socket.socket() as sock:
    sock.connect((args.host, args.port))
    maximum = struct.unpack("!i", sock.recv(4))[0]
    code = None
    while code != 0:
        guess = int(input(f"Number (1-{maximum})? "))
        sock.sendall(struct.pack("!i", guess))
        code = sock.recv(1)[0]
        print(guess, "is", MESSAGES[code])
