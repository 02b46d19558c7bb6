import socket
import sys

port = 9003
if "--port" in sys.argv:
    port = int(sys.argv[sys.argv.index("--port") + 1])

low = 0
high = 999
with socket.create_connection(("localhost", port)) as s:
    f = s.makefile("rw")
    while True:
        guess = (low + high) // 2
        f.write(f"{guess}\n")
        f.flush()
        hint = f.readline().strip()
        print(guess, hint)
        if hint == "HIGHER":
            low = guess + 1
        elif hint == "LOWER":
            high = guess - 1
        else:
            print("The number is", guess)
            break
