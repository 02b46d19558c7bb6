from urllib.parse import parse_qs, urlencode, urlsplit


def add_user(url):
    parts = urlsplit(url)
    query = parse_qs(parts.query)
    product, order = query["id"][0], query["sort"][0]
    return parts._replace(query=urlencode({"id": product, "sort": order, "user": 42})).geturl()
