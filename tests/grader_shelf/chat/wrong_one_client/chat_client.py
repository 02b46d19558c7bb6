import socket
import threading

name = input("Choose a name: ")

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", 9001))
client.sendall(name.encode())


def receive():
    while True:
        message = client.recv(1024).decode()
        if not message:
            break
        print(message)


thread = threading.Thread(target=receive, daemon=True)
thread.start()

while True:
    try:
        text = input()
    except EOFError:
        break
    client.sendall(text.encode())
client.close()
