# wrong: the reply is in capitals, not what was sent
import argparse
import asyncio

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9000)
args = parser.parse_args()


async def handle_echo(reader, writer):
    addr = writer.get_extra_info("peername")
    count = 0
    while True:
        data = await reader.read(1024)
        if not data:
            break
        count += 1
        writer.write(data.upper())
        await writer.drain()
    print(addr, "sent", count, "messages")
    writer.close()


async def main():
    server = await asyncio.start_server(handle_echo, "localhost", args.port)
    async with server:
        await server.serve_forever()


asyncio.run(main())
