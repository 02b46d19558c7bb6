# wrong: only says "higher"; when the guess is too big it only says "wrong", so there is no hint to go lower
import socketserver
from random import randint


class Game(socketserver.BaseRequestHandler):
    def handle(self):
        n = randint(1, 20)
        print("%s plays, number = %d" % (self.client_address[0], n))
        self.request.sendall(b"Number between 1 and 20?\n")
        guess = 0
        while guess != n:
            data = self.request.recv(64)
            if not data:
                return
            guess = int(data.strip())
            if guess < n:
                self.request.sendall(b"Wrong, the number is higher\n")
            elif guess != n:
                self.request.sendall(b"Wrong, try again\n")
        self.request.sendall(b"Right!\n")


if __name__ == "__main__":
    socketserver.TCPServer.allow_reuse_address = True
    server = socketserver.TCPServer(("localhost", 3333), Game)
    print("Serving on port 3333")
    server.serve_forever()
