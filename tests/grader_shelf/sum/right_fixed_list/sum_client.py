import socket

numbers = [10, 20, 30, 5]

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("127.0.0.1", 1234))
for n in numbers:
    s.sendall((str(n) + "|").encode())
s.sendall(b".")
print(s.recv(1024).decode())
s.close()
