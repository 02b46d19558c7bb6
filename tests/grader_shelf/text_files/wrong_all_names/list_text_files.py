# wrong: prints every name, not only those of .txt files
import sys
from html.parser import HTMLParser
from urllib.parse import unquote
from urllib.request import urlopen


class Links(HTMLParser):
    def handle_starttag(self, tag, attrs):
        if tag == "a":
            href = unquote(dict(attrs)["href"])
            print("-", href)


if len(sys.argv) > 1:
    url = sys.argv[1]
else:
    url = "http://localhost:8000/"
Links().feed(urlopen(url).read().decode())
