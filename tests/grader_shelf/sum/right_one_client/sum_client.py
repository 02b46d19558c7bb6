import socket

HOST = "127.0.0.1"
PORT = 1234

line = input("Numbers separated by spaces: ")
numbers = [int(x) for x in line.split()]

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as client_socket:
    client_socket.connect((HOST, PORT))
    message = ""
    for number in numbers:
        message += f"{number}|"
    message += "."
    client_socket.sendall(message.encode())
    answer = client_socket.recv(1024)
    print("Sum:", answer.decode())
