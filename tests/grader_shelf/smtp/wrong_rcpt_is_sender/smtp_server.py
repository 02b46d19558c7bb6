import socket
import threading

IP = "127.0.0.1"
PORT = 10025
inboxes = {}      # recipient -> list of mails


class Client(threading.Thread):
    def __init__(self, sock):
        super().__init__(daemon=True)
        self.sock = sock
        self.file = sock.makefile("r")

    def reply(self, s):
        self.sock.sendall((s + "\r\n").encode())

    def read_text(self):
        text = ""
        line = self.file.readline()
        while line and line.strip() != ".":
            text += line
            line = self.file.readline()
        return text

    def run(self):
        self.reply("220 welcome")
        recipients = []
        for line in self.file:
            line = line.strip()
            key = line[:4].upper()
            if key == "HELO" or key == "EHLO":
                self.reply("250 hi")
            elif key == "MAIL":
                sender = line.split(":")[1]
                self.reply("250 ok")
            elif key == "RCPT":
                recipients.append(line.split(":")[1].strip(" <>"))
                self.reply("250 ok")
            elif key == "DATA":
                self.reply("354 text please")
                text = self.read_text()
                for r in recipients:
                    inboxes.setdefault(r, []).append(text)
                    with open(r + ".txt", "a") as f:
                        f.write("mail from " + sender + "\n" + text + "-----\n")
                recipients = []
                for r in inboxes:
                    print(r, "has", len(inboxes[r]), "mail(s)")
                self.reply("250 delivered")
            elif key == "QUIT":
                self.reply("221 bye")
                break
            else:
                self.reply("500 ?")
        self.file.close()
        self.sock.close()


server = socket.create_server((IP, PORT))
print("server started")
while True:
    sock, addr = server.accept()
    Client(sock).start()
