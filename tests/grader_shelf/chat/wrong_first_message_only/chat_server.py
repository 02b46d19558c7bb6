# wrong: only the first message of a client is passed on
import argparse
import asyncio

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9001)
args = parser.parse_args()

clients = []


async def handle_client(reader, writer):
    clients.append(writer)
    try:
        data = await reader.readline()
        for other in clients:
            if other is not writer:
                other.write(data)
                await other.drain()
        await reader.read()
    except ConnectionError:
        pass
    finally:
        clients.remove(writer)
        writer.close()


async def main():
    server = await asyncio.start_server(handle_client, "localhost", args.port)
    print("Chat server on port", args.port)
    async with server:
        await server.serve_forever()


asyncio.run(main())
