import socket
import sys

port = 8080
if len(sys.argv) == 3 and sys.argv[1] == "--port":
    port = int(sys.argv[2])

messages = ["Hello", "Advanced", "Python"]

client = socket.socket()
try:
    client.connect(("localhost", port))
except ConnectionRefusedError:
    print("Is the server running?")
    sys.exit(1)
for msg in messages:
    client.sendall(msg.encode())
    response = client.recv(1024)
    print(f"Sent: {msg}, Received: {response.decode()}")
client.sendall(b"QUIT")
client.close()
