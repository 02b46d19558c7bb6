import socket

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("localhost", 8080))
for msg in ["Hello", "Advanced", "Python"]:
    client.sendall(msg.encode())
    print(client.recv(1024).decode())
client.close()
