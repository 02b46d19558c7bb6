# wrong: lists the files but does not serve them
import os
from http.server import BaseHTTPRequestHandler, HTTPServer


class MyHandler(BaseHTTPRequestHandler):
    def do_GET(self):
        if self.path != "/":
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        for name in os.listdir("."):
            self.wfile.write(f'<li><a href="{name}">{name}</a></li>\n'.encode())


HTTPServer(("localhost", 8000), MyHandler).serve_forever()
