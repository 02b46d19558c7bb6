import argparse
import ast
import operator
import socket

OPS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calc(node):
    if isinstance(node, ast.Expression):
        return calc(node.body)
    if isinstance(node, ast.BinOp):
        return OPS[type(node.op)](calc(node.left), calc(node.right))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -calc(node.operand)
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    raise ValueError("not allowed")


parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9002)
args = parser.parse_args()

server = socket.create_server(("localhost", args.port))
while True:
    conn, addr = server.accept()
    with conn:
        expression = conn.recv(1024).decode().strip()
        try:
            answer = str(calc(ast.parse(expression, mode="eval")))
        except Exception as e:
            answer = f"error: {e}"
        conn.sendall((answer + "\n").encode())
