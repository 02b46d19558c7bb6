from ftplib import FTP

with FTP("ftp.debian.org") as ftp:
    ftp.login()
    files = ftp.nlst("/debian")
    print(files[:10])
