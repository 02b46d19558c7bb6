import socket
import sys

if len(sys.argv) != 3:
    print("usage: greeting_client.py addr port")
    exit()

client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
client.connect((sys.argv[1], int(sys.argv[2])))
print("Connected to", sys.argv[1], sys.argv[2])
client.close()
