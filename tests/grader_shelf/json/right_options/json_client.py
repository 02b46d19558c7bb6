import argparse
import json
import socket

parser = argparse.ArgumentParser(description="asks the server for the value of a key")
parser.add_argument("-f", "--file", default="dictionary.json", type=argparse.FileType("r"))
parser.add_argument("-k", "--key", required=True)
parser.add_argument("--port", type=int, default=8889)
args = parser.parse_args()

message = {"data": json.load(args.file), "key": args.key}

with socket.create_connection(("127.0.0.1", args.port)) as s:
    s.sendall(json.dumps(message).encode() + b"\0")
    reply = b""
    while chunk := s.recv(1024):
        reply += chunk

reply = json.loads(reply)
if "error" in reply:
    print("The server reports:", reply["error"])
else:
    print(args.key, "->", json.dumps(reply["value"]))
