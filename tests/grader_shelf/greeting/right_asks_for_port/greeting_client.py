import socket, sys

if len(sys.argv) < 3:
    print("addr aur port do na bhai")
    exit()

s = socket.socket()
s.connect((sys.argv[1], int(sys.argv[2])))
print(s.recv(4096))
s.close()
