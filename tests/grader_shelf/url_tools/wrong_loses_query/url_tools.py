# wrong: the new URL has only user=42, id and sort are lost
import sys
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

URL = "https://example.org/products/view?id=123&sort=asc"


def add_user(url):
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    id_ = query.get("id")
    sort = query.get("sort")
    new_url = urlunsplit(
        (parts.scheme, parts.netloc, parts.path, urlencode({"user": 42}), parts.fragment)
    )
    return id_, sort, new_url


if __name__ == "__main__":
    url = sys.argv[1] if len(sys.argv) > 1 else URL
    id_, sort, new_url = add_user(url)
    print(id_)
    print(sort)
    print(new_url)
