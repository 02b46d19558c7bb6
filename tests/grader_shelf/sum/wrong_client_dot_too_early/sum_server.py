import socket

with socket.socket() as srv:
    srv.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    srv.bind(("127.0.0.1", 1234))
    srv.listen()
    print("Server laeuft auf 127.0.0.1:1234")
    while True:
        conn, addr = srv.accept()
        with conn:
            daten = b""
            while not daten.endswith(b"."):
                teil = conn.recv(2048)
                if not teil:
                    break
                daten += teil
            zahlen = [int(x) for x in daten[:-1].split(b"|") if x]
            conn.sendall(str(sum(zahlen)).encode())
