# wrong: one recv is taken for the whole list: numbers that come later are lost
import socket

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 1234))
s.listen(1)

while True:
    conn, addr = s.accept()
    print("Connected by", addr)
    text = conn.recv(1024).decode()
    total = 0
    for n in text.rstrip(".").split("|"):
        if n:
            total += float(n)
    conn.sendall(f"The sum is: {total}".encode())
    conn.close()
