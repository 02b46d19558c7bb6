import json
import urllib.request

response = urllib.request.urlopen("https://httpbin.org/get")
data = json.loads(response.read())
print(data["origin"])
print(data["headers"])
