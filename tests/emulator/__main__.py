# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulator as a process; ``--help`` says how."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
import tempfile
import typing as t
from pathlib import Path

from tests.emulator.dataplane.base import DataPlane, NoDataPlane
from tests.emulator.emulator import LOOPBACK, Emulator
from tests.emulator.errors import EmulatorError
from tests.emulator.settings import Settings


def main(argv: t.Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="emulator: %(message)s")
    try:
        if arguments.cleanup:
            return _cleanup(arguments.prefix)
        return _serve(arguments)
    except (EmulatorError, OSError) as error:
        print(f"emulator: {error}", file=sys.stderr)
        return 1


def _serve(arguments: argparse.Namespace) -> int:
    settings = Settings.load(arguments.probe) if arguments.probe else Settings()
    emulator = Emulator(
        settings,
        world=arguments.world,
        dataplane=_dataplane(arguments),
        listen=arguments.listen or [LOOPBACK],
        control=arguments.control,
        metadata=arguments.metadata,
    )
    # Blocked before any thread starts, so that no thread but this one takes them.
    if arguments.ready_file:
        arguments.ready_file.unlink(missing_ok=True)
    signals = (signal.SIGTERM, signal.SIGINT)
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with emulator:
        _announce(emulator, arguments)
        signal.sigwait(signals)
    return 0


def _announce(emulator: Emulator, arguments: argparse.Namespace) -> None:
    """One JSON line on the standard output, and the same in the ready file."""
    line = json.dumps(
        {
            "pid": os.getpid(),
            "api": emulator.urls,
            "control": emulator.control_url,
            "metadata": emulator.metadata_url,
            "data_plane": arguments.data_plane,
            "prefix": arguments.prefix,
        }
    )
    if arguments.ready_file:
        _write_atomically(arguments.ready_file, line + "\n")
    print(line, flush=True)


def _write_atomically(path: Path, text: str) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(text)
    Path(temporary).replace(path)


def _dataplane(arguments: argparse.Namespace) -> DataPlane:
    if arguments.data_plane == "none":
        return NoDataPlane()
    from tests.emulator.dataplane.netns import NetnsDataPlane

    return NetnsDataPlane(arguments.prefix, arguments.uplink)


def _cleanup(prefix: str) -> int:
    from tests.emulator.dataplane.cleanup import cleanup

    for name in cleanup(prefix):
        print(f"removed {name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description="Emulates the QingCloud API.")
    add = parser.add_argument
    add("--world", type=Path, help="JSON file with zone, keys, routers, vxnets and instances")
    add("--listen", action="append", metavar="ADDR:PORT", help=f"API listener, repeatable (default: {LOOPBACK})")
    add("--control", default=LOOPBACK, metavar="ADDR:PORT", help="control API listener")
    add("--metadata", default=LOOPBACK, metavar="ADDR:PORT", help="metadata service listener")
    add("--data-plane", choices=("none", "netns"), default="none")
    add("--prefix", default="qclab", help="of the data plane's namespaces and links")
    add("--uplink", metavar="CIDR", help="transit /30 between this host (first address) and the first router")
    add("--probe", type=Path, help="JSON file of settings that replace the defaults")
    add("--ready-file", type=Path, help="written, atomically, when everything listens")
    add("--cleanup", action="store_true", help="remove what a killed run of the prefix left, and exit")
    return parser


if __name__ == "__main__":
    sys.exit(main())
