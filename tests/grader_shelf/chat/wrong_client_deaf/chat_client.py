# wrong: the client sends, but prints nothing of what others say
import socket

name = input("Choose a name: ")

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("127.0.0.1", 9001))
client.sendall(name.encode())

while True:
    try:
        text = input()
    except EOFError:
        break
    client.sendall(text.encode())
client.close()
