import re
import socketserver
import sys

port = 9002
if "--port" in sys.argv:
    port = int(sys.argv[sys.argv.index("--port") + 1])


class CalcHandler(socketserver.StreamRequestHandler):
    def handle(self):
        self.wfile.write(b"Welcome to the calculator!\n")
        for line in self.rfile:
            text = line.decode().strip()
            m = re.fullmatch(r"(-?\d+\.?\d*)\s*([-+*/])\s*(-?\d+\.?\d*)", text)
            if m is None:
                answer = "I do not understand"
            else:
                x, op, y = float(m[1]), m[2], float(m[3])
                try:
                    if op == "+":
                        z = x + y
                    if op == "-":
                        z = x - y
                    if op == "*":
                        z = x * y
                    if op == "/":
                        z = x / y
                    answer = f"{text} = {z:g}"
                except ZeroDivisionError:
                    answer = "cannot divide by zero"
            self.wfile.write(answer.encode() + b"\n")


socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("", port), CalcHandler).serve_forever()
