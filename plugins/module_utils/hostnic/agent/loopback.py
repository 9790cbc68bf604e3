# SPDX-License-Identifier: GPL-3.0-or-later
"""Listening where this host alone can ask: at `bindaddr`, and at `manageaddr`."""

from __future__ import annotations

import socket


def listen(address: str, backlog: int) -> socket.socket:
    """`address`: host:port, as the settings have it. Raises OSError where the port is taken or the address not ours."""
    host, __, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1" if host == "localhost" else host, int(port)))
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock
