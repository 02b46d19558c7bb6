import sys

if len(sys.argv) > 1:
    url = sys.argv[1]
else:
    url = "https://example.org/products/view?id=123&sort=asc"


def change(url):
    query = url.split("?")[1]
    params = {}
    for pair in query.split("&"):
        name, value = pair.split("=")
        params[name] = value
    return {"id": params["id"], "sort": params["sort"], "url": url + "&user=42"}


print(change(url))
