import asyncio
import random
import sys

port = 9003
if "--port" in sys.argv:
    port = int(sys.argv[sys.argv.index("--port") + 1])


async def game(reader, writer):
    n = random.randrange(1000)
    async for line in reader:
        x = int(line)
        if x == n:
            writer.write(b"=\n")
        elif x < n:
            writer.write(b"HIGHER\n")
        else:
            writer.write(b"LOWER\n")
        await writer.drain()
        if x == n:
            break
    writer.close()


async def main():
    server = await asyncio.start_server(game, "localhost", port)
    await server.serve_forever()


asyncio.run(main())
