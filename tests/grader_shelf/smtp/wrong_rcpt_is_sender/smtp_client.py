# wrong: RCPT TO is given the sender's address instead of the recipient's, the mail goes to the wrong person
import socket

IP = "127.0.0.1"
PORT = 10025


class Mailer:
    def __init__(self, ip, port):
        self.sock = socket.socket()
        self.sock.connect((ip, port))
        self.file = self.sock.makefile()
        print(self.file.readline().strip())

    def cmd(self, s):
        self.sock.sendall((s + "\r\n").encode())
        print(s, "->", self.file.readline().strip())

    def send(self, sender, to, subject, body):
        self.cmd("HELO pc")
        self.cmd("MAIL FROM:<" + sender + ">")
        self.cmd("RCPT TO:<" + sender + ">")
        self.cmd("DATA")
        self.sock.sendall(("Subject: " + subject + "\r\n").encode())
        self.sock.sendall(("To: " + to + "\r\n\r\n").encode())
        self.sock.sendall((body + "\r\n").encode())
        self.cmd(".")
        self.cmd("QUIT")
        self.sock.close()


sender = input("from: ")
to = input("to: ")
subject = input("subject: ")
body = input("text: ")
Mailer(IP, PORT).send(sender, to, subject, body)
