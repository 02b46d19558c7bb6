# wrong: files are read as text, so that a binary file breaks the answer
import os
import socket
import sys

port = 8000
if "--port" in sys.argv:
    port = int(sys.argv[sys.argv.index("--port") + 1])

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("localhost", port))
s.listen(5)
while True:
    conn, addr = s.accept()
    request = conn.recv(4096).decode()
    if request:
        path = "." + request.split()[1]
        if os.path.isdir(path):
            body = ""
            for name in os.listdir(path):
                body += f'<a href="{name}">{name}</a><br>\n'
            conn.sendall(("HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + body).encode())
        elif os.path.isfile(path):
            body = open(path, errors="ignore").read()
            conn.sendall(("HTTP/1.0 200 OK\r\n\r\n" + body).encode())
        else:
            conn.sendall(b"HTTP/1.0 404 Not Found\r\n\r\nnot found")
    conn.close()
