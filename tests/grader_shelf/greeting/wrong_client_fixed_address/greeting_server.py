import argparse
import socket
import threading
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9006)
args = parser.parse_args()


def handle(conn, addr):
    text = f"Connected at {time.ctime()}\nAddress: {addr[0]}\nPort: {addr[1]}\n"
    print(text)
    conn.sendall(text.encode())
    conn.close()


s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", args.port))
s.listen(5)
while True:
    conn, addr = s.accept()
    threading.Thread(target=handle, args=(conn, addr)).start()
