# wrong: prints an example and fetches nothing
origin = "203.0.113.7"
headers = {
    "Accept-Encoding": "identity",
    "Host": "httpbin.org",
    "User-Agent": "Python-urllib/3.11",
}
print("origin:", origin)
print("headers:", headers)
