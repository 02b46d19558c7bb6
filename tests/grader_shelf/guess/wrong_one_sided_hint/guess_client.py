import socket


def main():
    sock = socket.create_connection(("localhost", 3333))
    lines = sock.makefile()
    print(lines.readline(), end="")
    while True:
        guess = input("? ")
        sock.sendall(guess.encode() + b"\n")
        hint = lines.readline().strip()
        print(hint)
        if hint == "Right!":
            break
    sock.close()


if __name__ == "__main__":
    main()
