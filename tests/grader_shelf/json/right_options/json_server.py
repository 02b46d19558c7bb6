import argparse
import asyncio
import json


async def handle(reader, writer):
    raw = await reader.readuntil(b"\0")
    request = json.loads(raw[:-1])
    data, key = request["data"], request["key"]
    try:
        reply = {"value": data[key]}
    except KeyError:
        reply = {"error": f"key {key!r} does not exist"}
    writer.write(json.dumps(reply).encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def main(port):
    server = await asyncio.start_server(handle, "127.0.0.1", port)
    print("listening on", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8889)
    asyncio.run(main(parser.parse_args().port))
