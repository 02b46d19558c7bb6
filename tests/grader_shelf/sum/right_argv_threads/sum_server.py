import argparse
import socket
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=1234)
args = parser.parse_args()


def handle(conn):
    buffer = b""
    while not buffer.endswith(b"."):
        chunk = conn.recv(4096)
        if not chunk:
            break
        buffer += chunk
    numbers = [float(x) for x in buffer.decode()[:-1].split("|") if x.strip()]
    result = sum(numbers)
    if result == int(result):
        result = int(result)
    conn.sendall(f"{result}\n".encode())
    conn.close()


sock = socket.socket()
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("127.0.0.1", args.port))
sock.listen()
print("listening on", args.port)
while True:
    conn, _ = sock.accept()
    threading.Thread(target=handle, args=(conn,), daemon=True).start()
