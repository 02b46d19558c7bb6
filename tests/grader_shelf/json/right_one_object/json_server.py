import json
import socket

HOST = "127.0.0.1"
PORT = 9005

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((HOST, PORT))
server.listen(1)
print("Server is waiting...")

while True:
    conn, addr = server.accept()
    request = json.loads(conn.recv(65536).decode())
    dictionary = request["dictionary"]
    key = request["key"]
    if key in dictionary:
        response = {"status": "ok", "value": dictionary[key]}
    else:
        response = {"status": "error"}
    conn.sendall(json.dumps(response).encode())
    conn.close()
