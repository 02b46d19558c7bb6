import argparse
import socket

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=1025)
args = parser.parse_args()

sender = input("From: ")
to = input("To: ")
subject = input("Subject: ")
body = input("Message: ")

s = socket.create_connection(("localhost", args.port))
f = s.makefile("rw", newline="\r\n")
print("S:", f.readline().strip())


def say(text):
    print("C:", text)
    f.write(text + "\n")
    f.flush()
    print("S:", f.readline().strip())


say("HELO localhost")
say(f"MAIL FROM:<{sender}>")
say(f"RCPT TO:<{to}>")
say("DATA")
say(f"From: {sender}\nTo: {to}\nSubject: {subject}\n\n{body}\n.")
say("QUIT")
s.close()
