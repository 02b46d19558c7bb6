import socket

import SMTP_protocol


def send(client_socket, code, text):
    client_socket.sendall(f"{code} {text}\r\n".encode())


def receive_line(client_socket):
    line = b""
    while not line.endswith(b"\n"):
        char = client_socket.recv(1)
        if not char:
            break
        line += char
    return line.decode()


def handle_client(client_socket):
    send(client_socket, SMTP_protocol.SERVICE_READY, SMTP_protocol.SERVER_NAME)
    while True:
        line = receive_line(client_socket)
        if not line:
            break
        command = line[:4].upper()
        if command in ("HELO", "EHLO"):
            send(client_socket, SMTP_protocol.REQUESTED_ACTION_COMPLETED, "Hello")
        elif command == "MAIL" or command == "RCPT":
            print(line.strip())
            send(client_socket, SMTP_protocol.REQUESTED_ACTION_COMPLETED, "OK")
        elif command == "DATA":
            send(client_socket, SMTP_protocol.ENTER_MESSAGE, "Enter message, end with .")
            message = "\r\n"
            while not message.endswith(SMTP_protocol.EMAIL_END):
                message += receive_line(client_socket)
            print("Received mail:")
            print(message[2:-3])
            send(client_socket, SMTP_protocol.REQUESTED_ACTION_COMPLETED, "Message accepted")
        elif command == "QUIT":
            send(client_socket, SMTP_protocol.CLOSING, "Goodbye")
            break
        else:
            send(client_socket, SMTP_protocol.COMMAND_SYNTAX_ERROR, "Unknown command")
    client_socket.close()


def main():
    server_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    server_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server_socket.bind(("0.0.0.0", SMTP_protocol.PORT))
    server_socket.listen()
    print(f"Listening for connections on port {SMTP_protocol.PORT}")
    while True:
        client_socket, client_address = server_socket.accept()
        print(f"New connection from {client_address[0]}:{client_address[1]}")
        handle_client(client_socket)


if __name__ == "__main__":
    main()
