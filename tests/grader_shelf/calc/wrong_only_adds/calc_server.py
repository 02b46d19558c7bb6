# wrong: adds whatever the operator is
import socket
import threading

HOST = "localhost"
PORT = 9002


def calculate(expression):
    parts = expression.split()
    if len(parts) != 3:
        return "Error: please write something like 2 + 3"
    try:
        a = float(parts[0])
        b = float(parts[2])
    except ValueError:
        return "Error: not a number"
    op = parts[1]
    if op not in "+-*/":
        return "Error: unknown operator"
    return str(a + b)


def handle_client(conn, addr):
    while True:
        data = conn.recv(1024)
        if not data:
            break
        result = calculate(data.decode())
        print(addr, data.decode(), "=", result)
        conn.sendall(result.encode())
    conn.close()


s = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind((HOST, PORT))
s.listen()
print("Calculator server is running on port", PORT)
while True:
    conn, addr = s.accept()
    threading.Thread(target=handle_client, args=(conn, addr), daemon=True).start()
