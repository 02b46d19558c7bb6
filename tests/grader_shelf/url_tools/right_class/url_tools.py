from urllib.parse import parse_qsl, urlencode, urlsplit


class Tools:
    def change(self, url):
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query))
        print(query["id"], query["sort"])
        query["user"] = "42"
        return parts._replace(query=urlencode(query)).geturl()
