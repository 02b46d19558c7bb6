import ftplib
import sys

host = sys.argv[1] if len(sys.argv) > 1 else "ftp.debian.org"
port = int(sys.argv[2]) if len(sys.argv) > 2 else 21

ftp = ftplib.FTP()
print(ftp.connect(host, port))
ftp.login()
lines = []
ftp.retrlines("LIST /debian", lines.append)
for i in range(10):
    if i < len(lines):
        print(i + 1, lines[i].split(None, 8)[-1])
ftp.close()
