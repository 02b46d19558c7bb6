# wrong: der Punkt wird in der Schleife schon nach der ersten Zahl gesendet, der Rest geht verloren
import socket
import sys

zahlen = [int(x) for x in sys.argv[1:]] or [5, 6, 7]

with socket.socket() as s:
    s.connect(("127.0.0.1", 1234))
    for zahl in zahlen:
        s.sendall(f"{zahl}|".encode())
        s.sendall(b".")
        antwort = s.recv(1024)
        break
    print("Summe:", antwort.decode())
