import socket

name = input("Which file? ")
client = socket.socket()
try:
    client.connect(("127.0.0.1", 5000))
except OSError:
    print("Error: there is no server")
    raise SystemExit(1)
client.sendall(name.encode())
data = b""
while piece := client.recv(4096):
    data += piece
if data.startswith(b"-"):
    print("Error:", data[1:].decode())
else:
    with open("received.dat", "wb") as file:
        file.write(data[1:])
    print("Saved received.dat")
