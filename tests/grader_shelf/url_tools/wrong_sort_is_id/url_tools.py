# wrong: copy and paste, sort is read from the id parameter (prints 123 as sort)
import urllib.parse

def url_tool(url):
    result = urllib.parse.urlparse(url)
    query = urllib.parse.parse_qs(result.query)
    id = query["id"][0]
    sort = query["id"][0]
    print("Extracted id:", id)
    print("Extracted sort:", sort)
    query["user"] = ["42"]
    return result._replace(query=urllib.parse.urlencode(query, doseq=True)).geturl()

url = "https://example.org/products/view?id=123&sort=asc"
print(url_tool(url))
