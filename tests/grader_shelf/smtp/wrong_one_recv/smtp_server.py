# wrong: one recv is taken for the whole message, which is cut at 64 bytes
import argparse
import socketserver
import time

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=1025)
args = parser.parse_args()


class SMTPHandler(socketserver.StreamRequestHandler):
    def reply(self, text):
        self.wfile.write(text.encode() + b"\r\n")

    def handle(self):
        self.reply("220 localhost ready")
        sender = ""
        recipients = []
        for line in self.rfile:
            command = line.decode().strip()
            upper = command.upper()
            if upper.startswith("EHLO") or upper.startswith("HELO"):
                self.reply("250 localhost")
            elif upper.startswith("MAIL FROM:"):
                sender = command[10:]
                recipients = []
                self.reply("250 ok")
            elif upper.startswith("RCPT TO:"):
                recipients.append(command[8:])
                self.reply("250 ok")
            elif upper == "DATA":
                self.reply("354 end with a dot")
                text = self.request.recv(64)
                with open(f"mail_{time.time_ns()}.txt", "wb") as f:
                    f.write(f"{sender} -> {recipients}\n".encode())
                    f.write(text)
                self.reply("250 saved")
            elif upper == "QUIT":
                self.reply("221 bye")
                break
            elif upper == "RSET" or upper == "NOOP":
                self.reply("250 ok")
            else:
                self.reply("502 not implemented")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


with Server(("localhost", args.port), SMTPHandler) as server:
    server.serve_forever()
