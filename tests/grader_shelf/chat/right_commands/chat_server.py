import select
import socket

import protocol

server = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
server.bind((protocol.SERVER_IP, protocol.SERVER_PORT))
server.listen()
print("Listening for clients...")

sockets = []
names = {}


def find(name):
    for sock in names:
        if names[sock] == name:
            return sock
    return None


def answer(sock, line):
    command, _, rest = line.partition(" ")
    if command == "NAME":
        if find(rest) is not None:
            return "This name is taken"
        names[sock] = rest
        return f"HELLO {rest}"
    if command == "GET_NAMES":
        return " ".join(names.values())
    if command == "MSG":
        to, _, message = rest.partition(" ")
        other = find(to)
        if other is None:
            return f"There is no {to}"
        other.send(protocol.create_msg(f"{names.get(sock, 'somebody')} sent {message}"))
        return "Sent"
    return "Unknown command"


while True:
    ready, _, _ = select.select([server] + sockets, [], [])
    for sock in ready:
        if sock is server:
            connection, address = server.accept()
            print("New client", address)
            sockets.append(connection)
        else:
            line = protocol.get_msg(sock)
            if line == "" or line == "EXIT":
                sockets.remove(sock)
                names.pop(sock, None)
                sock.close()
            else:
                sock.send(protocol.create_msg(answer(sock, line)))
