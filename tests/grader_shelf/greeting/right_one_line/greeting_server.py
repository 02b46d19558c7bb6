import socket
from datetime import datetime

PORT = 9006

with socket.create_server(("localhost", PORT)) as server:
    while True:
        connection, address = server.accept()
        with connection:
            greeting = f"{datetime.now()} {address}"
            connection.send(greeting.encode())
