# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node: the least that is an agent, as a floor under what qingcni and qingagent take together.

It has one veth and knows its name. An ADD moves it into the pod, with address, up and default route, a DEL takes it
back; before and after, a line is written to a file. No pool, no check, no second caller, nothing that is undone.
`least_plugin.py` asks it. Arguments: where `caller.py` lies, the parking netns, the link's name there. Says "ready" and
goes on until its stdin ends.
"""

from __future__ import annotations

import gc
import os
import runpy
import socket
import struct
import sys
import threading
import typing as t

_SOCKET: t.Final = "/run/bench-least.sock"
_JOURNAL: t.Final = "/run/bench-least.journal"
# <linux/rtnetlink.h>
_RTM_NEWADDR, _RTM_NEWROUTE, _CREATE = 20, 24, 0x500
_UP: t.Final = 1
_LOCAL, _ADDRESS, _OIF = 2, 1, 4  # IFA_LOCAL, IFA_ADDRESS, RTA_OIF
_OWN: t.Final = socket.inet_aton("192.0.2.2")
_RESULT: t.Final = b'{"cniVersion": "1.0.0", "interfaces": [{"name": "eth0"}], "ips": [{"address": "192.0.2.2/24"}]}'


def serve(listener: socket.socket, caller: t.Any, parking_path: str, link: str) -> None:
    attribute = caller["_attribute"]
    parking = caller["Place"](parking_path)
    journal = os.open(_JOURNAL, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    while True:
        connection, __ = listener.accept()
        request, (descriptor, *__), *__ = socket.recv_fds(connection, 65536, 1)
        pod = caller["Place"](f"/proc/self/fd/{descriptor}")
        os.pwrite(journal, b"begun " + request, 0)
        if request.startswith(b"ADD"):
            parking.send(parking.index(link), pod.arrival("eth0"))
            index = pod.index("eth0")
            address = attribute(_LOCAL, _OWN) + attribute(_ADDRESS, _OWN)
            pod.ask(_RTM_NEWADDR, struct.pack("=BBBBi", socket.AF_INET, 24, 0, 0, index) + address, _CREATE)
            pod.send(index, flags=_UP)
            route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 254, 4, 253, 1, 0)
            pod.ask(_RTM_NEWROUTE, route + attribute(_OIF, struct.pack("=i", index)), _CREATE)
        else:
            pod.send(pod.index("eth0"), parking.arrival(link))
        os.pwrite(journal, b"ended " + request, 0)
        connection.send(_RESULT)
        connection.close()
        os.close(descriptor)
        pod.close()


def main() -> None:
    gc.disable()
    where, parking, link = sys.argv[1:]
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(_SOCKET)
        listener.listen()
        threading.Thread(target=serve, args=(listener, runpy.run_path(where), parking, link), daemon=True).start()
        print("ready", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
