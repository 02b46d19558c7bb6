import argparse
import os
import socket
import threading

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9004)
args = parser.parse_args()


def send_file(conn):
    filename = os.path.basename(conn.recv(1024).decode().strip())
    if not os.path.isfile(filename):
        conn.sendall(b"ERROR File not found\n")
    else:
        size = os.path.getsize(filename)
        conn.sendall(f"OK {size}\n".encode())
        with open(filename, "rb") as f:
            conn.sendall(f.read())
    conn.close()


server = socket.create_server(("localhost", args.port))
print("File server started")
while True:
    conn, addr = server.accept()
    threading.Thread(target=send_file, args=(conn,)).start()
