import argparse
import hashlib
import socket
from datetime import datetime

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9007)
args = parser.parse_args()

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", args.port))
print("UDP server on port", args.port)

while True:
    data, addr = s.recvfrom(65535)
    md5 = hashlib.md5(data).hexdigest()
    sha256 = hashlib.sha256(data).hexdigest()
    with open("log.txt", "a") as f:
        f.write(f"Time: {datetime.now()}\n")
        f.write(f"Address: {addr[0]}\n")
        f.write(f"Port: {addr[1]}\n")
        f.write(f"Length: {len(data)}\n")
        f.write(f"MD5: {md5}\n")
        f.write(f"SHA256: {sha256}\n\n")
