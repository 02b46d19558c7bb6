# wrong: always answers "Hello, Server!", whatever was sent
import argparse
import socket
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8080)
args = parser.parse_args()


def handle(conn):
    while True:
        msg = conn.recv(1024)
        if not msg:
            break
        conn.sendall(b"Hello, Server!")
    conn.close()


s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("localhost", args.port))
s.listen()
while True:
    conn, addr = s.accept()
    threading.Thread(target=handle, args=(conn,), daemon=True).start()
