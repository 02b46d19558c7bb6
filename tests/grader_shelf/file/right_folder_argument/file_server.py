import os
import socket
import struct
import sys


class FileServer:
    """Serves the files of one directory. Usage: file_server.py [dir]"""

    def __init__(self, directory, host="localhost", port=5678):
        self.directory = directory
        self.address = (host, port)

    def read_exact(self, conn, n):
        data = b""
        while len(data) < n:
            more = conn.recv(n - len(data))
            if not more:
                raise ConnectionError("client closed early")
            data += more
        return data

    def serve_client(self, conn):
        length = struct.unpack("!H", self.read_exact(conn, 2))[0]
        name = os.path.basename(self.read_exact(conn, length).decode())
        path = os.path.join(self.directory, name)
        try:
            with open(path, "rb") as f:
                content = f.read()
        except OSError as e:
            print("cannot send", path, e)
            conn.sendall(struct.pack("!q", -1))
            return
        conn.sendall(struct.pack("!q", len(content)))
        conn.sendall(content)
        print("sent", path, len(content), "bytes")

    def run(self):
        with socket.create_server(self.address) as srv:
            print("serving", self.directory, "on", self.address)
            while True:
                conn, _ = srv.accept()
                with conn:
                    try:
                        self.serve_client(conn)
                    except ConnectionError as e:
                        print(e)


if __name__ == "__main__":
    FileServer(sys.argv[1] if len(sys.argv) > 1 else ".").run()
