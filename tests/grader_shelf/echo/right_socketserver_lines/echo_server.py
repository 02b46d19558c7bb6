import socketserver
import sys

PORT = 9000
if "--port" in sys.argv:
    PORT = int(sys.argv[sys.argv.index("--port") + 1])


class EchoHandler(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile:
            self.wfile.write(line)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("localhost", PORT), EchoHandler) as server:
    server.serve_forever()
