import argparse
import asyncio

parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int, default=9000)
args = parser.parse_args()


async def main():
    reader, writer = await asyncio.open_connection("localhost", args.port)
    for message in ("Hello", "Advanced", "Python"):
        writer.write(message.encode())
        data = await reader.read(100)
        print(data.decode())
    writer.close()


asyncio.run(main())
