# wrong: answers the first message of a client and hangs up
import socket
import threading


def handle_client(client, address):
    print(f"Connection from {address}")
    try:
        data = client.recv(1024)
        print(f"Received: {data.decode()}")
        client.sendall(data)
        print(f"Echoed: {data.decode()}")
    except ConnectionResetError:
        print("Client lost")
    finally:
        client.close()
        print("Connection closed")


def echo_server():
    server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("localhost", 8080))
    server.listen(5)
    print("Server listening on localhost:8080...")
    try:
        while True:
            client, addr = server.accept()
            thread = threading.Thread(target=handle_client, args=(client, addr), daemon=True)
            thread.start()
    except KeyboardInterrupt:
        print("Bye")
    finally:
        server.close()


if __name__ == "__main__":
    echo_server()
