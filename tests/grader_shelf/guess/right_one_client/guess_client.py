import socket

s = socket.socket()
s.connect(("127.0.0.1", 9003))
print(s.recv(1024).decode())

answer = ""
while "win" not in answer:
    s.send(input("> ").encode())
    answer = s.recv(1024).decode()
    print(answer)
s.close()
