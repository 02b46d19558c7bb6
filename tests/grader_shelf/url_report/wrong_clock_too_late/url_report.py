# wrong: the clock is started only when the response has already been read, so the time is always about 0
import argparse
import hashlib
import time
import urllib.request

ap = argparse.ArgumentParser()
ap.add_argument("url")
url = ap.parse_args().url

with urllib.request.urlopen(url) as resp:
    content = resp.read()
    start_time = time.time()
    status = resp.getcode()
    ctype = resp.headers.get("Content-Type", "unknown")
    response_time = time.time() - start_time

with open("url_report.txt", "w") as report:
    report.write(f"URL: {url}\n")
    report.write(f"Status: {status}\n")
    report.write(f"Size: {len(content)}\n")
    report.write(f"Type: {ctype}\n")
    report.write(f"Server response time: {response_time}\n")
    for n, i in enumerate(range(0, len(content), 1000), 1):
        report.write(f"MD5 of fragment {n}: {hashlib.md5(content[i:i+1000]).hexdigest()}\n")
