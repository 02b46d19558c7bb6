"""Python loads this module at the start of each solution, because it is on its PYTHONPATH.

Texts of exercises give fixed ports and addresses of the world outside. So that many solutions
can run side by side, and none needs a network, a server that asks for a fixed port gets the free
one of EXERCISE_PORT, and a client's connections go where EXERCISE_CONNECT says: "443=40001
*=40002" is a port for connections to port 443, and one for all others. EXERCISE_LOG is a file that
then holds what was asked for.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

bind, connect, connect_ex = socket.socket.bind, socket.socket.connect, socket.socket.connect_ex
listen, getaddrinfo = socket.socket.listen, socket.getaddrinfo
PORT = int(os.environ.get("EXERCISE_PORT", "0"))
CONNECT = dict(pair.split("=") for pair in os.environ.get("EXERCISE_CONNECT", "").split())
asked: list[int] = []  # the fixed port of this program
own: set[int] = set()  # the ports on which this program listens itself


def log(*words: object) -> None:
    path = os.environ.get("EXERCISE_LOG")
    if path:
        try:
            with open(path, "a", encoding="utf-8") as file:
                file.write(" ".join(str(word) for word in words) + "\n")
        except OSError:
            pass


def is_internet(self: socket.socket, address: Any) -> bool:
    families = (socket.AF_INET, socket.AF_INET6)
    return self.family in families and isinstance(address, tuple) and len(address) > 1


def target(self: socket.socket, address: Any) -> Any:
    """Return the address to which a connection really goes."""
    if not is_internet(self, address):
        return address
    host, port = address[:2]
    log("connect", host, port)
    goal = CONNECT.get(str(port), CONNECT.get("*"))
    if goal is None or str(port) in CONNECT.values() or port in own:
        return address
    return ("127.0.0.1" if self.family == socket.AF_INET else "::1", int(goal), *address[2:])


def new_bind(self: socket.socket, address: Any) -> None:
    if is_internet(self, address):
        host, port = address[:2]
        if port and not asked:
            asked.append(port)
        if sys.platform != "win32" and self.type == socket.SOCK_STREAM:
            # One check follows another at once; a server without it would have to wait.
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if PORT and port in asked:
            address = (host, PORT, *address[2:])
        bind(self, address)
        log("bind", host, port, self.getsockname()[1], self.type.name)
    else:
        bind(self, address)


def new_listen(self: socket.socket, *backlog: int) -> None:
    listen(self, *backlog)
    if self.family in (socket.AF_INET, socket.AF_INET6):
        own.add(self.getsockname()[1])
        log("listen", *self.getsockname()[:2])


def new_connect(self: socket.socket, address: Any) -> None:
    connect(self, target(self, address))


def new_connect_ex(self: socket.socket, address: Any) -> int:
    return connect_ex(self, target(self, address))


def new_getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
    """Names of the world outside are those of this machine, where CONNECT has a port for them."""
    goal = CONNECT.get(str(port), CONNECT.get("*"))
    if goal and host and host not in ("localhost", "127.0.0.1", "::1"):
        log("connect", host, port)
        host, port = "127.0.0.1", int(goal)
    return getaddrinfo(host, port, *args, **options)


changed: Any = socket.socket
changed.bind, changed.listen = new_bind, new_listen
if CONNECT or os.environ.get("EXERCISE_LOG"):  # without CONNECT it is only written down
    changed.connect, changed.connect_ex = new_connect, new_connect_ex
    if CONNECT:
        socket.getaddrinfo = new_getaddrinfo
