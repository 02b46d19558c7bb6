import asyncio
import json
import re

PATTERN = re.compile(r"\s*(-?\d+(?:\.\d+)?)\s*([-+*/])\s*(-?\d+(?:\.\d+)?)\s*$")


def num(s):
    return float(s) if "." in s else int(s)


def calculate(expression):
    m = PATTERN.match(expression)
    if m is None:
        raise ValueError(f"cannot understand {expression!r}")
    x, op, y = num(m[1]), m[2], num(m[3])
    match op:
        case "+":
            return x + y
        case "-":
            return x - y
        case "*":
            return x * y
        case "/":
            return x / y


async def client_connected(reader, writer):
    while data := await reader.readline():
        request = json.loads(data)
        try:
            response = {"ok": True, "result": calculate(request["expression"])}
        except (ValueError, ZeroDivisionError) as exc:
            response = {"ok": False, "error": str(exc)}
        writer.write(json.dumps(response).encode() + b"\n")
        await writer.drain()
    writer.close()


async def main():
    server = await asyncio.start_server(client_connected, "127.0.0.1", 5555)
    print("calc server ready")
    await server.serve_forever()


asyncio.run(main())
