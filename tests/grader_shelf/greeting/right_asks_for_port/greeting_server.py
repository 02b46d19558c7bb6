import socket, datetime

port = int(input("Enter port: "))
s = socket.socket()
s.bind(('127.0.0.1', port))
s.listen(5)
print("Server start ho gaya, client ka intezaar hai")

while True:
    c, a = s.accept()
    t = datetime.datetime.now()
    info = {'time': t.strftime("%A, %d %B %Y %H:%M:%S"), 'address': a[0], 'port': a[1]}
    print("Naya client:", info)
    log = open("connections.txt", "a")
    log.write(str(info) + "\n")
    log.close()
    c.send(str(info).encode())
    c.close()
