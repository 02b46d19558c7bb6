# wrong: the time is a constant, not the time of the connection
import argparse
import socket
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9006)
args = parser.parse_args()


def handle(conn, addr):
    text = f"Connected at Mon Jan 15 10:30:00 2024\nAddress: {addr[0]}\nPort: {addr[1]}\n"
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
