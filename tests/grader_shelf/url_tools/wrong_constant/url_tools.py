# wrong: prints the answer for the URL of the exercise, whatever URL is given
import sys


def tools(url):
    id = "123"
    sort = "asc"
    new = "https://example.org/products/view?id=123&sort=asc&user=42"
    return id, sort, new


print(tools(sys.argv[1:]))
