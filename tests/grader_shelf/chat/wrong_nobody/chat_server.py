# wrong: messages are printed by the server and sent to nobody
import socket
import threading

HOST = "127.0.0.1"
PORT = 9001

clients = {}


def broadcast(message, sender):
    print(message)


def handle_client(client):
    name = client.recv(1024).decode()
    clients[client] = name
    broadcast(f"{name} joined the chat", client)
    while True:
        try:
            message = client.recv(1024).decode()
        except ConnectionResetError:
            break
        if not message:
            break
        broadcast(f"{name}: {message}", client)
    del clients[client]
    broadcast(f"{name} left the chat", client)
    client.close()


server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((HOST, PORT))
server.listen()
print("Chat server started")
while True:
    client, address = server.accept()
    threading.Thread(target=handle_client, args=(client,), daemon=True).start()
