import socket

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect(("localhost", 8080))
print("Connected to server")

messages = ["Hello", "Advanced", "Python"]
for msg in messages:
    client.sendall(msg.encode())
    response = client.recv(1024)
    print(f"Sent: {msg}")
    print(f"Received: {response.decode()}")

client.close()
