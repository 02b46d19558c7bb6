SERVER_IP = "127.0.0.1"
SERVER_PORT = 9001
LENGTH_FIELD_SIZE = 4


def create_msg(data):
    data = data.encode()
    return str(len(data)).zfill(LENGTH_FIELD_SIZE).encode() + data


def get_msg(my_socket):
    length = my_socket.recv(LENGTH_FIELD_SIZE).decode()
    if length == "":
        return ""
    return my_socket.recv(int(length)).decode()
