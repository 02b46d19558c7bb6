# wrong: the server prints the sum and does not send it to the client
import socket

HOST = "127.0.0.1"
PORT = 1234

with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server_socket:
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind((HOST, PORT))
    server_socket.listen()
    print("Waiting for a client...")
    client_socket, address = server_socket.accept()
    with client_socket:
        suma = 0
        number = ""
        while True:
            char = client_socket.recv(1).decode()
            if char == "|":
                suma += int(number)
                number = ""
            elif char == "." or char == "":
                break
            else:
                number += char
        print("Sum:", suma)
