# wrong: the client looks the key up itself; the server gets nothing and answers nothing
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
    if args.key in data:
        print(data[args.key])
    else:
        print(f"There is no key {args.key}")
