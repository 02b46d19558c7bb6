import json
import socket

HOST = "127.0.0.1"
PORT = 9005

file_name = input("JSON file: ")
key = input("Key: ")

with open(file_name) as f:
    dictionary = json.load(f)

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((HOST, PORT))
client.sendall(json.dumps({"dictionary": dictionary, "key": key}).encode())
response = json.loads(client.recv(65536).decode())
client.close()

if response["status"] == "ok":
    print("Value:", response["value"])
else:
    print("Error: the key does not exist")
