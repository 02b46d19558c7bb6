from urllib.parse import parse_qs, urlencode, urlparse, urlunparse


def modify_url(url):
    parsed = urlparse(url)
    params = parse_qs(parsed.query)
    print("id:", params["id"][0])
    print("sort:", params["sort"][0])
    params["user"] = ["42"]
    new_query = urlencode(params, doseq=True)
    return urlunparse(parsed._replace(query=new_query))


print(modify_url("https://example.org/products/view?id=123&sort=asc"))
