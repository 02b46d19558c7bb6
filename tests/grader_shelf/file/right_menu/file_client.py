import socket

PORT = 2020

try:
    s = socket.create_connection(("127.0.0.1", PORT))
except OSError as e:
    print("Server nicht erreichbar:", e)
    raise SystemExit(1)
f = s.makefile("rb")

while True:
    print("\n1 - Dateien anzeigen\n2 - Datei herunterladen\n3 - Beenden")
    wahl = input("Auswahl: ")
    if wahl == "1":
        s.sendall(b"LISTE\n")
        for name in f.readline().decode("utf-8").strip().split(";"):
            print("  *", name)
    elif wahl == "2":
        name = input("Dateiname: ")
        s.sendall(("HOLE " + name + "\n").encode("utf-8"))
        antwort = f.readline().decode("utf-8").strip()
        if antwort.startswith("OK"):
            groesse = int(antwort[3:])
            with open("kopie_" + name, "wb") as ziel:
                ziel.write(f.read(groesse))
            print("Gespeichert als kopie_" + name)
        else:
            print(antwort)
    elif wahl == "3":
        s.sendall(b"ENDE\n")
        break
s.close()
