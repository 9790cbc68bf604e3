# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent support-bundle`: all that somebody far away needs, in one file, and no secret in it."""

from __future__ import annotations

import argparse
import io
import os
import platform
import tarfile
import time
import typing as t
from pathlib import Path

from .. import redact
from ..errors import HostnicError
from .command import JSON, OK, Command, Terminal, add_output
from .evidence import LARGEST, Evidence, Piece
from .output import count, document

LINES: t.Final = 3000
MODE: t.Final = 0o600

# file ► bytes in the bundle, or why it is not there
Outcome = t.Union[int, str]


def _arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser)
    parser.add_argument("--socket", default="", metavar="string", help="where the agent listens")
    parser.add_argument("--file", default="", metavar="string", help="the file to write, which must not exist yet")
    parser.add_argument("--lines", default=LINES, type=int, metavar="int", help="lines of the log")


def _run(arguments: argparse.Namespace, terminal: Terminal) -> int:
    stem = f"qingagent-support-{platform.node() or 'host'}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}"
    path = terminal.cwd / (arguments.file or f"{stem}.tar.gz")
    evidence = Evidence(arguments, terminal.environ, arguments.socket, max(0, arguments.lines))
    evidence.learn()
    talks = terminal.tty and arguments.output != JSON
    told = _write(path, stem, evidence.pieces(), terminal.err.write if talks else lambda __: 0)
    missing = {file: why for file, why in told.items() if isinstance(why, str)}
    if arguments.output == JSON:
        shown = {"path": str(path), "bytes": path.stat().st_size, "files": sorted(told.keys() - missing.keys())}
        terminal.out.write(document({**shown, "missing": missing}))
    else:
        for why in dict.fromkeys(missing.values()):
            files = ", ".join(file for file, reason in missing.items() if reason == why)
            terminal.out.write(f"not in it: {files}: {why}\n")
        terminal.out.write(f"{path}: {count(len(told) - len(missing), 'file')}, secrets masked\n")
    return OK


def _write(path: Path, stem: str, pieces: t.Sequence[Piece], tell: t.Callable[[str], object]) -> dict[str, Outcome]:
    """Raises `HostnicError` where the file itself cannot be written; no half of it is left then."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, MODE)
    except FileExistsError:
        raise HostnicError(f"{path} is there already: name another --file") from None
    except OSError as error:
        raise HostnicError(f"cannot write {path}: {error.strerror}") from error
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            told: dict[str, Outcome] = {}
            for piece in pieces:
                told[piece.file] = _add(archive, stem, piece)
                tell(f"{piece.file}: {_shown(told[piece.file])}\n")
            _put(archive, f"{stem}/manifest.json", document(redact.value(_manifest(pieces, told))))
            return told
    except BaseException as error:
        path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise HostnicError(f"cannot write {path}: {error.strerror or error}") from error
        raise


def _add(archive: tarfile.TarFile, stem: str, piece: Piece) -> Outcome:
    """Whatever goes wrong with one piece concerns no other."""
    try:
        text = piece.collect()
    except HostnicError as error:
        return redact.text(error.message)
    except Exception as error:
        return redact.text(f"a defect: {type(error).__name__}: {error}")
    return _put(archive, f"{stem}/{piece.file}", text)


def _put(archive: tarfile.TarFile, name: str, text: str) -> int:
    content = redact.text(text).encode("utf-8", "backslashreplace")[-LARGEST:]
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.mtime = len(content), MODE, int(time.time())
    archive.addfile(entry, io.BytesIO(content))
    return len(content)


def _manifest(pieces: t.Sequence[Piece], told: t.Mapping[str, Outcome]) -> dict[str, t.Any]:
    collected = [piece for piece in pieces if not isinstance(told[piece.file], str)]
    missing = [piece for piece in pieces if isinstance(told[piece.file], str)]
    return {
        "made": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "host": platform.node(),
        "files": [{"file": one.file, "what": one.what, "bytes": told[one.file]} for one in collected],
        "missing": [{"file": one.file, "what": one.what, "why": told[one.file]} for one in missing],
    }


def _shown(outcome: Outcome) -> str:
    return outcome if isinstance(outcome, str) else count(outcome, "byte")


_ABOUT: t.Final = (
    "Writes one tar.gz, for root alone, with what the agent, its journal, its log, its units and the host's network "
    "show. Keys, tokens and signatures are masked. What cannot be collected is named in it with the reason."
)
COMMAND = Command("support-bundle", "collect what support needs, without secrets", _run, _arguments, _ABOUT)
