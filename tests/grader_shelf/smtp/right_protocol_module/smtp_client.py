import socket

import SMTP_protocol

CLIENT_NAME = "client.net"
SERVER_NAME = "127.0.0.1"

FROM = "barbie@gmail.com"
TO = "ken@gmail.com"
EMAIL_TEXT = (
    "From: barbie@gmail.com\r\n"
    "To: ken@gmail.com\r\n"
    "Subject: Dinner\r\n"
    "\r\n"
    "Are you free tonight at eight?\r\n"
    "Barbie"
)


def command(sock, text, expected):
    sock.sendall((text + "\r\n").encode())
    answer = sock.recv(1024).decode()
    print(answer.strip())
    if not answer.startswith(expected):
        print("Error at", text)
        sock.close()
        exit(1)


def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect((SERVER_NAME, SMTP_protocol.PORT))
    print(sock.recv(1024).decode().strip())
    ok = SMTP_protocol.REQUESTED_ACTION_COMPLETED
    command(sock, "EHLO " + CLIENT_NAME, ok)
    command(sock, f"MAIL FROM:<{FROM}>", ok)
    command(sock, f"RCPT TO:<{TO}>", ok)
    command(sock, "DATA", SMTP_protocol.ENTER_MESSAGE)
    command(sock, EMAIL_TEXT + "\r\n.", ok)
    command(sock, "QUIT", SMTP_protocol.CLOSING)
    print("Email sent")
    sock.close()


main()
