# wrong: eval() of what a client sent: any Python code of a stranger is executed
import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9002)
args = parser.parse_args()

server = socket.create_server(("localhost", args.port))
while True:
    conn, addr = server.accept()
    with conn:
        expression = conn.recv(1024).decode().strip()
        try:
            answer = str(eval(expression))
        except Exception as e:
            answer = f"error: {e}"
        conn.sendall((answer + "\n").encode())
