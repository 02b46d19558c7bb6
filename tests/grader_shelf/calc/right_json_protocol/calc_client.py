import argparse
import json
import socket

parser = argparse.ArgumentParser()
parser.add_argument("expression", help='for example "2 + 3"')
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=5555)
args = parser.parse_args()

with socket.create_connection((args.host, args.port)) as s:
    s.sendall(json.dumps({"expression": args.expression}).encode() + b"\n")
    with s.makefile() as f:
        response = json.loads(f.readline())

if response["ok"]:
    print(f"{args.expression} = {response['result']}")
else:
    print("Server error:", response["error"])
