# wrong: id=%5B%27123%27%5D: the lists of parse_qs are written into the URL (doseq missing)
import sys
from urllib.parse import parse_qs, urlencode, urlparse, urlunparse


def modify_url(url):
    parsed = urlparse(url)
    params = parse_qs(parsed.query)
    print("id:", params["id"][0])
    print("sort:", params["sort"][0])
    params["user"] = ["42"]
    new_query = urlencode(params)
    return urlunparse(parsed._replace(query=new_query))


url = "https://example.org/products/view?id=123&sort=asc"
if len(sys.argv) > 1:
    url = sys.argv[1]
print(modify_url(url))
