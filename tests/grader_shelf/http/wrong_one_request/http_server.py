# wrong: answers one request and ends
import argparse
import http.server
import socketserver

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8000)
PORT = parser.parse_args().port

Handler = http.server.SimpleHTTPRequestHandler
socketserver.TCPServer.allow_reuse_address = True

with socketserver.TCPServer(("", PORT), Handler) as httpd:
    print("serving at port", PORT)
    httpd.handle_request()
