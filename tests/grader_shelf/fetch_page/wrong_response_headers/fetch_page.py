# wrong: prints the headers of the HTTP response, not the field of the JSON
import json
import sys
import urllib.error
import urllib.request

url = "https://httpbin.org/get"
if len(sys.argv) > 1:
    url = sys.argv[1]

try:
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode("utf-8")
    data = json.loads(text)
    print("Origin:", data["origin"])
    print("Headers:")
    for name, value in response.headers.items():
        print("   ", name, "=", value)
except urllib.error.URLError as e:
    print("Sorry, the network is unavailable:", e.reason)
