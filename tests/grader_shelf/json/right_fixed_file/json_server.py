import json
import socket

s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("localhost", 9005))
s.listen()
while True:
    c, addr = s.accept()
    dict_len = int(c.recv(10))
    text = b""
    while len(text) < dict_len:
        text += c.recv(1024)
    c.send(b"ok")
    key = c.recv(1024).decode()
    d = json.loads(text)
    try:
        c.send(str(d[key]).encode())
    except KeyError:
        c.send(b"error: no such key")
    c.close()
