import socket


def ask_server(exp):
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.connect(("127.0.0.1", 10000))
    sock.send(exp.encode())
    ans = sock.recv(2048).decode()
    sock.close()
    return ans


while True:
    print("------ MENU ------")
    print("1. Expression likho (jaise 2 + 3)")
    print("2. Bahar niklo")
    ch = input("Apna choice daalo: ")
    if ch == "1":
        exp = input("Expression: ")
        print(ask_server(exp))
    elif ch == "2":
        print("Dhanyavaad!")
        break
    else:
        print("Galat choice")
