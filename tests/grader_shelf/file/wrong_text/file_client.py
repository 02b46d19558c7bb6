# wrong: the client decodes the file as text: a binary file is damaged
import socket

HOST = "localhost"
PORT = 9004
BUFFER_SIZE = 4096

name = input("Which file do you want? ")

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
try:
    s.connect((HOST, PORT))
    s.sendall(name.encode())
    if s.recv(1) == b"Y":
        with open("downloaded_" + name, "w") as f:
            while True:
                data = s.recv(BUFFER_SIZE)
                if not data:
                    break
                f.write(data.decode(errors="ignore"))
        print("Download complete")
    else:
        print("File not found on the server")
except ConnectionRefusedError:
    print("The server is not running")
s.close()
