import socket
import operator

ops = {"+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv}


def solve(exp):
    # pehla character chhod do, wo minus sign ho sakta hai
    for i in range(1, len(exp)):
        if exp[i] in ops:
            left = float(exp[:i])
            right = float(exp[i + 1:])
            return ops[exp[i]](left, right)
    return float(exp)


sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
sock.bind(("0.0.0.0", 10000))
sock.listen(3)
print("Calculator server shuru ho gaya port 10000 par")

while True:
    # har calculation ke liye naya connection
    c, a = sock.accept()
    exp = c.recv(2048).decode()
    print(a, "ne bheja:", exp)
    try:
        ans = solve(exp)
        c.send(("Answer hai " + str(ans)).encode())
    except ZeroDivisionError:
        c.send("Zero se divide nahi kar sakte".encode())
    except ValueError:
        c.send("Galat expression".encode())
    c.close()
