# wrong: all images are saved under one name, only the last is left
import sys
from html.parser import HTMLParser
from urllib.parse import urljoin
from urllib.request import urlopen, urlretrieve


class ImgParser(HTMLParser):
    def __init__(self):
        super().__init__()
        self.images = []

    def handle_starttag(self, tag, attrs):
        if tag == "img":
            src = dict(attrs).get("src")
            if src:
                self.images.append(src)


if len(sys.argv) < 2:
    print("Please give me a URL")
    sys.exit(1)

page = sys.argv[1]
parser = ImgParser()
parser.feed(urlopen(page).read().decode())
for src in parser.images:
    full = urljoin(page, src)
    filename = "image.png"
    urlretrieve(full, filename)
    print(src, "->", filename)
