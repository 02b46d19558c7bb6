import socket

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.connect(("localhost", 9002))

while True:
    try:
        expression = input("Enter an expression (or quit): ")
    except EOFError:
        break
    if expression == "quit":
        break
    s.sendall(expression.encode())
    print("Result:", s.recv(1024).decode())

s.close()
