import json
import socket

with open("data.json") as f:
    d = json.load(f)

s = socket.socket()
s.connect(("localhost", 9005))
text = json.dumps(d).encode()
s.send(str(len(text)).rjust(10).encode())
s.send(text)
s.recv(2)
key = input("key = ")
s.send(key.encode())
print(s.recv(1024).decode())
s.close()
