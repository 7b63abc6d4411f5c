"""Ports on loopback: for servers that come back to theirs, and where nothing listens."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager

HOST = "127.0.0.1"


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on.

    Below those that the kernel hands out, to callers and to servers that ask for any: while a server is away, nobody
    else is given its port. A client that keeps dialling a dead broker could even be given the broker's own, connect to
    itself, and keep the broker from ever coming back.
    """
    ports: set[int] = set()
    while len(ports) < count:
        port = random.randrange(15_000, 32_000)
        with socket.socket() as tried:
            # As Java does it: a port on which a connection lingers is free.
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((HOST, port))
            except OSError:
                continue
        ports.add(port)
    return list(ports)


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port that refuses connections, and is nobody else's meanwhile."""
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        yield bound.getsockname()[1]
