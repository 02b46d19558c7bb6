# wrong: login() is never called, so the server answers 530 and the script crashes
import ftplib


class FtpLister:
    def __init__(self, host):
        self.ftp = ftplib.FTP(host)

    def first(self, path, n=10):
        self.ftp.cwd(path)
        return self.ftp.nlst()[:n]

    def close(self):
        self.ftp.quit()


lister = FtpLister("ftp.debian.org")
for name in lister.first("/debian"):
    print(name)
lister.close()
