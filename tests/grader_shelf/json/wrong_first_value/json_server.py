# wrong: the value of the first key is sent, whatever key was asked for
import argparse
import json
import socketserver

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9005)
args = parser.parse_args()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        data = json.loads(self.rfile.readline())
        key = self.rfile.readline().decode().rstrip("\n")
        if key in data:
            reply = json.dumps(list(data.values())[0])
        else:
            reply = "KEY_NOT_FOUND"
        self.wfile.write(reply.encode() + b"\n")


socketserver.ThreadingTCPServer.allow_reuse_address = True
with socketserver.ThreadingTCPServer(("localhost", args.port), Handler) as server:
    server.serve_forever()
