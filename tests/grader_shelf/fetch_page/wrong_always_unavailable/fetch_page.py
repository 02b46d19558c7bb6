# wrong: except hides a bug: says that the network is unavailable while it is there
import json
import sys
import urllib.request

url = "https://httpbin.org/get"
if len(sys.argv) > 1:
    url = sys.argv[1]

try:
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode("utf-8")
    data = json.loads(response)
    print("Origin:", data["origin"])
    print("Headers:")
    for name, value in data["headers"].items():
        print("   ", name, "=", value)
except:  # noqa: E722
    print("Sorry, the network is unavailable")
