"""Connections to partners, apart from what partners do to them."""

from __future__ import annotations

import gc
import os

from agents.connecting import Socket


def test_a_socket_that_is_forgotten_closes_nothing() -> None:
    """Its descriptor is somebody else's by then."""
    socket = Socket()
    descriptor = socket.fileno()
    del socket
    gc.collect()
    os.close(descriptor)
