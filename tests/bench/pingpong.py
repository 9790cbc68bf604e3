# SPDX-License-Identifier: GPL-3.0-or-later
"""A small message there and back over one TCP connection, again and again; run by its path, with nothing imported.

    python3 -I -S pingpong.py serve PROCESSOR ADDRESS PORT
    python3 -I -S pingpong.py ask PROCESSOR ADDRESS PORT COUNT

`ask` prints the time of each round trip in nanoseconds, after as many more as it takes to get going. Each end stays on
a processor of its own, so that no scheduler's choice of one decides about a round.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time

SIZE = 64
WARM = 50  # round trips before those that count


def main(argv: list[str]) -> None:
    verb, processor, address, port = argv[:4]
    os.sched_setaffinity(0, {int(processor) % (os.cpu_count() or 1)})
    if verb == "serve":
        with socket.create_server((address, int(port))) as listener:
            sys.stdout.write("ready\n")
            sys.stdout.flush()
            while True:
                serve(listener)
    sys.stdout.write(json.dumps(ask(address, int(port), int(argv[4]))))


def serve(listener: socket.socket) -> None:
    """One connection, to its end."""
    connection, __ = listener.accept()
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with connection:
        while message := connection.recv(SIZE):
            connection.sendall(message)


def ask(address: str, port: int, count: int) -> list[int]:
    message, times = bytes(SIZE), []
    with socket.create_connection((address, port), timeout=10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(None)
        for __ in range(WARM + count):
            began = time.perf_counter_ns()
            connection.sendall(message)
            left = SIZE
            while left:
                left -= len(connection.recv(left))
            times.append(time.perf_counter_ns() - began)
    return times[WARM:]


if __name__ == "__main__":
    main(sys.argv[1:])
