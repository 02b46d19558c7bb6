import pathlib
import socketserver
import sys

PORT = 9004
if "--port" in sys.argv:
    PORT = int(sys.argv[sys.argv.index("--port") + 1])
FOLDER = pathlib.Path(__file__).parent / "shared"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        command, name = self.rfile.readline().decode().split(maxsplit=1)
        files = {p.name: p for p in FOLDER.iterdir()}
        if command == "GET" and name.strip() in files:
            data = files[name.strip()].read_bytes()
            self.wfile.write(len(data).to_bytes(8, "big") + data)
        else:
            self.wfile.write((2**64 - 1).to_bytes(8, "big"))


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True


Server(("localhost", PORT), Handler).serve_forever()
