# Datei-Server: Befehle LISTE, HOLE <name>, ENDE  (eine Zeile pro Befehl)
import os
import socket

ORDNER = "."
PORT = 2020


def bediene(client):
    f = client.makefile("rb")
    while True:
        befehl = f.readline().decode("utf-8").strip()
        if befehl == "" or befehl == "ENDE":
            break
        if befehl == "LISTE":
            namen = [n for n in os.listdir(ORDNER) if os.path.isfile(n)]
            client.sendall((";".join(namen) + "\n").encode("utf-8"))
        elif befehl.startswith("HOLE "):
            name = befehl[5:]
            pfad = os.path.join(ORDNER, name)
            if not os.path.exists(pfad):
                client.sendall("FEHLER Datei nicht gefunden\n".encode("utf-8"))
                continue
            groesse = os.path.getsize(pfad)
            client.sendall(("OK %d\n" % groesse).encode("utf-8"))
            with open(pfad, "rb") as datei:
                client.sendfile(datei)
            print("%s gesendet (%d Bytes)" % (name, groesse))
    client.close()


s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", PORT))
s.listen()
print("Datei-Server gestartet")
while True:
    client, adresse = s.accept()
    print("Verbindung von", adresse)
    bediene(client)
