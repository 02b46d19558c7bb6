import argparse
import json
import socket

parser = argparse.ArgumentParser()
parser.add_argument("file")
parser.add_argument("key")
parser.add_argument("--port", type=int, default=9005)
args = parser.parse_args()

with open(args.file) as f:
    data = json.load(f)

with socket.create_connection(("localhost", args.port)) as s:
    stream = s.makefile("rw")
    stream.write(json.dumps(data) + "\n")
    stream.write(args.key + "\n")
    stream.flush()
    reply = stream.readline().strip()

if reply == "KEY_NOT_FOUND":
    print(f"There is no key {args.key}")
else:
    print(json.loads(reply))
