# wrong: lists the top folder of the server, not /debian
import argparse
from ftplib import FTP

parser = argparse.ArgumentParser()
parser.add_argument("--host", default="ftp.debian.org")
parser.add_argument("--port", type=int, default=21)
args = parser.parse_args()

ftp = FTP()
ftp.connect(args.host, args.port)
ftp.login()
for name in ftp.nlst()[:10]:
    print(name)
ftp.quit()
