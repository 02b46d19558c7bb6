# wrong: answers every path with the same page, no file of the folder is served
from http.server import BaseHTTPRequestHandler, HTTPServer


class MyHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<html><body><h1>It works!</h1></body></html>")


HTTPServer(("localhost", 8000), MyHandler).serve_forever()
