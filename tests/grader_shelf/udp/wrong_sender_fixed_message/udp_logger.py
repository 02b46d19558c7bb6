import hashlib
import socket
import time

sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("", 9007))

file = open("packets.csv", "a")
while True:
    packet, (address, port) = sock.recvfrom(100000)
    row = [
        time.strftime("%d.%m.%Y %H:%M:%S"),
        address,
        str(port),
        str(len(packet)),
        hashlib.md5(packet).hexdigest(),
        hashlib.sha256(packet).hexdigest(),
    ]
    file.write(";".join(row) + "\n")
    file.flush()
    print("packet from", address)
