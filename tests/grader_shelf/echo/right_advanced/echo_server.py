import socket
import sys
import threading
from datetime import datetime

host = "localhost"
port = 8080
if len(sys.argv) == 3 and sys.argv[1] == "--port":
    port = int(sys.argv[2])

total = 0


def log(text):
    print(f"[{datetime.now():%Y-%m-%d %H:%M:%S}] {text}")


def handle_client(client, address):
    global total
    log(f"Connection from {address}")
    client.settimeout(30)
    try:
        while True:
            data = client.recv(1024)
            if not data:
                break
            command = data.decode().strip()
            if command == "QUIT":
                client.sendall(b"Goodbye\n")
                break
            elif command == "STATS":
                client.sendall(f"Messages: {total}\n".encode())
            elif command == "TIME":
                client.sendall(f"{datetime.now():%H:%M:%S}\n".encode())
            else:
                total += 1
                log(f"Received: {command}")
                client.sendall(data)
    except socket.timeout:
        log(f"{address} was idle")
    except OSError as e:
        log(f"Error: {e}")
    client.close()
    log("Connection closed")


server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((host, port))
server.listen(5)
log(f"Server listening on {host}:{port}...")
try:
    while True:
        client, addr = server.accept()
        threading.Thread(target=handle_client, args=(client, addr), daemon=True).start()
except KeyboardInterrupt:
    log("Shutting down")
    server.close()
