import argparse
import urllib.request

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=8000)
args = parser.parse_args()

with urllib.request.urlopen(f"http://127.0.0.1:{args.port}/") as response:
    lines = response.read().decode().splitlines()

names = []
for line in lines:
    if line.endswith(".txt</a></li>"):
        start = line.index(">", 4) + 1
        names.append(line[start : -len("</a></li>")])
print("Text files:", ", ".join(names))
