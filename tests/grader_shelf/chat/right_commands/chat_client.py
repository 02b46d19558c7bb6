import socket
import threading

import protocol

my_socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
my_socket.connect((protocol.SERVER_IP, protocol.SERVER_PORT))
print("Enter commands: NAME <name>, GET_NAMES, MSG <name> <message>, EXIT")


def listen():
    while True:
        message = protocol.get_msg(my_socket)
        if message == "":
            break
        print("Server sent:", message)


threading.Thread(target=listen, daemon=True).start()
command = ""
while command != "EXIT":
    command = input()
    my_socket.send(protocol.create_msg(command))
my_socket.close()
