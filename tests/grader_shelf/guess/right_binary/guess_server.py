#!/usr/bin/env python3
import argparse
import random
import socket
import struct

TOO_LOW, TOO_HIGH, EQUAL = 1, 2, 0


def recv_int(conn):
    buf = b""
    while len(buf) < 4:
        part = conn.recv(4 - len(buf))
        if not part:
            return None
        buf += part
    return struct.unpack("!i", buf)[0]


def main():
    ap = argparse.ArgumentParser(description="guessing game server")
    ap.add_argument("--host", default="0.0.0.0")
    ap.add_argument("-p", "--port", type=int, default=7777)
    ap.add_argument("--max", type=int, default=100)
    args = ap.parse_args()

    srv = socket.create_server((args.host, args.port))
    print("waiting for a player on port", args.port)
    conn, addr = srv.accept()
    secret = random.randint(1, args.max)
    conn.sendall(struct.pack("!i", args.max))

    while True:
        guess = recv_int(conn)
        if guess is None:
            print("player left")
            break
        if guess < secret:
            conn.sendall(struct.pack("!B", TOO_LOW))
        elif guess > secret:
            conn.sendall(struct.pack("!B", TOO_HIGH))
        else:
            conn.sendall(struct.pack("!B", EQUAL))
            print("player found", secret)
            break
    conn.close()
    srv.close()


main()
