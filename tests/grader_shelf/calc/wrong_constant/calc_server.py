# wrong: the answer is always 5, the example of the exercise
import socket
import threading

HOST = "localhost"
PORT = 9002


def handle_client(conn, addr):
    while True:
        data = conn.recv(1024)
        if not data:
            break
        result = "5"
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
