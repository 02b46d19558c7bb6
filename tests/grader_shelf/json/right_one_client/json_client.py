import json
import socket
import sys

with open(sys.argv[1]) as file:
    dictionary = json.load(file)
client = socket.socket()
client.connect(("127.0.0.1", 5555))
client.sendall(json.dumps([dictionary, sys.argv[2]]).encode())
answer = client.recv(65536).decode()
if answer == "no such key":
    print("Error: the key does not exist")
else:
    print("Value:", answer)
