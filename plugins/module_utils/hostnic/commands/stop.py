# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent stop`: the unit's agent by systemd, which would start it again; any other by a signal to its process."""

from __future__ import annotations

import argparse
import contextlib
import os
import select
import signal
import socket
import subprocess
import typing as t
from pathlib import Path

from .. import wire
from ..agent import unix
from ..doctor import units
from ..errors import HostnicError, Timeout
from .command import OK, Command, Terminal, add_socket

UNITS: t.Final = (units.SOCKET, units.AGENT)  # a socket that stays would start the agent again
SYSTEMD: t.Final = Path("/run/systemd/system")
PATIENCE: t.Final = 40.0  # s: more than the agent gives to calls that run


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    active = _active() if arguments.socket == wire.SOCKET and SYSTEMD.is_dir() else []
    if active:
        _systemctl("stop", *UNITS)
        terminal.out.write(
            f"stopped {' and '.join(active)}: no pod starts until systemctl start {' '.join(UNITS)}; "
            "what pods give back meanwhile is kept and carried out then\n"
        )
        return OK
    pid = _listener(arguments.socket)
    if pid is None:
        terminal.out.write(f"no agent listens on {arguments.socket}: nothing to stop\n")
        return OK
    if pid in (1, os.getpid()):
        raise HostnicError(f"systemd listens on {arguments.socket} for the agent", remedy="stop that unit by systemctl")
    _end(pid)
    terminal.out.write(f"stopped the agent that listened on {arguments.socket} (process {pid})\n")
    return OK


def _active() -> list[str]:
    """Those of our units that run; asked before the socket is touched, since touching it would start the agent."""
    return [unit for unit in UNITS if _systemctl("is-active", "--quiet", unit, check=False)]


def _systemctl(*words: str, check: bool = True) -> bool:
    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    except OSError as error:
        raise HostnicError(f"systemctl cannot be run ({error.strerror})", remedy="check PATH") from error
    if check and done.returncode:
        raise HostnicError(f"systemctl {' '.join(words)}: {done.stderr.strip() or done.returncode}")
    return done.returncode == 0


def _listener(path: str) -> t.Optional[int]:
    """The process that listens there, by the kernel's word; None where nobody does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(5)
        try:
            connection.connect(path)
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise HostnicError(f"cannot reach {path} ({error.strerror or error})", remedy="run this as root") from error
        return unix.credentials(connection)[0]


def _end(pid: int) -> None:
    """SIGTERM, and wait for its end. Through a descriptor: the number may be another's by then."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGTERM)
        if not select.select([descriptor], [], [], PATIENCE)[0]:
            raise Timeout(f"the agent (process {pid}) still runs after {PATIENCE:g} s", remedy="see its log")
    except PermissionError as error:
        raise HostnicError(f"process {pid} is not yours to stop", remedy="run this as root") from error
    finally:
        os.close(descriptor)


_ABOUT: t.Final = (
    "Stops the agent of this machine and says how: the units by systemctl, socket included, or an agent that runs in "
    "the foreground by its process. Pods that run keep their network."
)
COMMAND = Command("stop", "stop the agent that runs", _run, add_socket, _ABOUT)
