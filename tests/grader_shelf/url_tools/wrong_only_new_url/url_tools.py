# wrong: id and sort are not extracted, only the new URL is printed
import sys


def add_param(url, name, value):
    sep = "&" if "?" in url else "?"
    return f"{url}{sep}{name}={value}"


url = "https://example.org/products/view?id=123&sort=asc"
if len(sys.argv) > 1:
    url = sys.argv[1]
print(add_param(url, "user", 42))
