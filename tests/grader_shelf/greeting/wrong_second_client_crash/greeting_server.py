# wrong: closes the listening socket instead of the client's inside the loop, so the server crashes before a second client is served
import socket
from datetime import datetime

HOST = "localhost"
PORT = 11111

s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((HOST, PORT))
s.listen(5)
print("Servidor escuchando en el puerto", PORT)

while True:
    conn, addr = s.accept()
    ahora = datetime.now().strftime("%d-%m-%Y %H:%M:%S")
    print("Se conectó un cliente a las", ahora)
    print("Dirección:", addr[0], "Puerto:", addr[1])
    conn.send(("Bienvenido! %s %s:%s" % (ahora, addr[0], addr[1])).encode())
    s.close()
