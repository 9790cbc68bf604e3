# SPDX-License-Identifier: GPL-3.0-or-later
"""What a support bundle holds, piece by piece: each is collected by itself, so that what is missing hides nothing else.

Nothing here changes anything, and a program that is not installed is told, not needed.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import sqlite3
import subprocess
import tempfile
import time
import typing as t
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path

from .. import config, redact, wire
from ..agent import about
from ..agent.degradation import FILE as DEGRADATION
from ..cloud import credentials
from ..doctor import units
from ..errors import HostnicError
from ..net import links
from ..store.sqlite import FILE as JOURNAL
from .start import settings_of

ASKED: t.Final = ("status", "pool", "leases", "explain", "settings", "version")
PROGRAM_TIME: t.Final = 20.0  # s
ANSWER_TIME: t.Final = 5.0  # s
LARGEST: t.Final = 8 << 20  # bytes of a piece; of what is longer the end is kept
SPOOL_FILES: t.Final = 50
AGENT: t.Final = "/usr/local/sbin/qingagent"
_NAMES: t.Final = ("all", "default")
_SYSCTLS: t.Final = ("rp_filter", "arp_ignore", "arp_announce", "arp_notify", "forwarding", "accept_local")


class Missing(HostnicError):
    """A piece that could not be had, and why."""


@dataclass(frozen=True)
class Piece:
    """`file`: its name in the bundle."""

    file: str
    what: str
    collect: t.Callable[[], str]


class Evidence:
    """Of this machine. `settings` are the defaults where the configuration cannot be used: `problem` says why then."""

    def __init__(
        self, arguments: t.Any, environ: t.Mapping[str, str], socket: str, lines: int, agent: str = AGENT
    ) -> None:
        self._environ = environ
        self._lines = lines
        self._agent = agent
        self.problem = ""
        self.origins: dict[str, str] = {}
        try:
            self.settings, self.origins = settings_of(arguments, environ, Path(config.DIRECTORY))
        except HostnicError as error:
            self.settings, self.problem = config.Settings(), error.message
        self._named = getattr(arguments, "config", None)
        self._socket = socket or str(Path(self.settings.rundir) / Path(wire.SOCKET).name)
        self._silent: t.Optional[str] = None  # why the agent is not asked any more

    def learn(self) -> None:
        """Every secret that this machine keeps for the agent, so that none of the pieces shows it."""
        for name, value in self._environ.items():
            redact.learn_from(f"{name}={value}")
        given = Path("/run/credentials").glob(f"{units.AGENT}/*")  # by LoadCredential= and the like
        for file in (Path(self.settings.access_file), *self._configuration(), *given):
            with contextlib.suppress(OSError, UnicodeDecodeError):
                redact.learn_from(file.read_text(encoding="utf-8"))
        with contextlib.suppress(OSError, UnicodeDecodeError):
            redact.learn((Path(self.settings.rundir) / "token").read_text(encoding="utf-8").strip())

    def pieces(self) -> list[Piece]:
        """In the order in which a person would read them."""
        state = Path(self.settings.statedir)
        return [
            Piece("version.json", "the package that this command belongs to", lambda: _json(about.package())),
            *(Piece(f"agent/{op}.json", f"the running agent's answer to {op}", partial(self._ask, op)) for op in ASKED),
            Piece("doctor.json", "what qingagent doctor finds", self._doctor),
            Piece("journal.json", "the agent's journal, table by table", partial(_tables, state / JOURNAL)),
            Piece("spool.json", "DELs that wait for the agent", partial(_spool, state / "spool")),
            Piece("degradation.txt", "whether the agent is held still", partial(_read, state / DEGRADATION, "no\n")),
            Piece("configuration/settings.json", "the settings as the files have them now", self._settings),
            Piece("configuration/files.txt", "the configuration's files", self._files),
            Piece("configuration/access.json", "the access file, without its key", self._access),
            Piece("configuration/probe.json", "what was measured of this cloud", self._probed),
            Piece("configuration/cni.txt", "names of CNI configurations, and ours", _cni),
            Piece("log/agent.txt", f"the last {self._lines} lines of the units' log", self._log),
            Piece("log/kernel.txt", "the kernel's last lines", partial(_run, *_JOURNALCTL, "--dmesg", "--lines=500")),
            *(Piece(f"units/{unit}.txt", f"state of {unit}", partial(_unit, unit)) for unit in units.OURS),
            Piece(
                "units/security.txt", "how hardened the service is",
                partial(_run, "systemd-analyze", "security", "--no-pager", units.AGENT),
            ),
            *_network("host", ()),
            *_network("parking", ("-n", Path(links.PARKING).name)),
            Piece("network/nftables.txt", "every nftables rule", partial(_run, "nft", "list", "ruleset")),
            Piece("network/iptables.txt", "every iptables rule", partial(_run, "iptables-save")),
            Piece("network/sysctls.txt", "the kernel's settings for links", _sysctls),
            Piece("network/proc.txt", "links and routes as /proc has them", _proc_net),
            Piece("host/system.json", "kernel, distribution, time", _system),
            Piece("host/processes.txt", "limits and memory of the agent", self._process),
        ]  # fmt: skip

    # -- the agent -----------------------------------------------------------------------------------------------------

    def _ask(self, op: str) -> str:
        if self._silent is None and _active(units.AGENT) in ("inactive", "failed"):
            self._silent = "the agent does not run, and asking it would start it"
        if self._silent:
            raise Missing(self._silent)
        try:
            return _json(wire.ask(self._socket, op, timeout=ANSWER_TIME))
        except HostnicError as error:
            if error.transient:  # another question would wait as long
                self._silent = error.message
            raise

    def _doctor(self) -> str:
        return _run(self._agent, "doctor", "--output", "json", accepted=(0, 3), limit=60.0)

    def _process(self) -> str:
        pid = _run("systemctl", "show", "--property=MainPID", "--value", units.AGENT).strip()
        if not pid.isdigit() or pid == "0":
            raise Missing("the agent does not run")
        found = [f"# {name}\n{_read(Path('/proc') / pid / name)}" for name in ("status", "limits", "cgroup")]
        return "\n".join(found)

    # -- the configuration ---------------------------------------------------------------------------------------------

    def _configuration(self) -> list[Path]:
        named = self._named or self._environ.get("QINGAGENT_CONFIG")
        beside = sorted(Path(config.DIRECTORY).glob("QingAgent.*"))
        return [Path(named), *beside] if named else beside

    def _settings(self) -> str:
        if self.problem:
            raise Missing(self.problem)
        values = asdict(self.settings)
        keys = {one.metadata["key"]: one.name for one in fields(config.Settings)}
        return _json({key: {"value": values[name], "origin": self.origins[key]} for key, name in keys.items()})

    def _files(self) -> str:
        found = [f"# {path}\n{_read(path)}" for path in self._configuration() if path.exists()]
        if not found:
            raise Missing(f"there is no QingAgent file in {config.DIRECTORY}")
        return "\n".join(found)

    def _access(self) -> str:
        access = credentials.read_access(self.settings.access_file)
        key = redact.key_id(access.key.access_key_id) if access.key else "the IAM role of this instance"
        kept = ("zone", "host", "port", "protocol", "uri", "ca_file", "retries", "timeout", "metadata_url", "source")
        return _json({"key": key, **{name: getattr(access, name) for name in kept}})

    def _probed(self) -> str:
        return _read(Path(config.DIRECTORY) / "probe.json", "{}\n")

    def _log(self) -> str:
        ours = [f"--unit={unit}" for unit in units.OURS]
        return _run(*_JOURNALCTL, *ours, f"--lines={self._lines}")


_JOURNALCTL: t.Final = ("journalctl", "--no-pager", "--output=short-iso-precise")


# -- files ------------------------------------------------------------------------------------------------------------


def _json(value: t.Any) -> str:
    return json.dumps(redact.value(value), indent=2) + "\n"


def _read(path: Path, absent: t.Optional[str] = None) -> str:
    """`absent`: what stands for a file that need not be there."""
    if absent is not None and not path.exists():
        return absent
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise Missing(f"cannot read {path}: {error.strerror}") from error


def _tables(path: Path) -> str:
    """From a copy: a reader of a SQLite file writes beside it, and the agent's must not be touched."""
    if not path.exists():
        raise Missing(f"there is no {path}")
    with tempfile.TemporaryDirectory() as directory:
        copy = Path(directory) / path.name
        try:
            for ending in ("", "-wal"):
                beside = Path(f"{path}{ending}")
                if beside.exists():
                    shutil.copyfile(beside, f"{copy}{ending}")
            with contextlib.closing(sqlite3.connect(copy)) as link:
                link.row_factory = sqlite3.Row
                names = [row[0] for row in link.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
                rows = {name: [dict(row) for row in link.execute(f'SELECT * FROM "{name}"')] for name in sorted(names)}  # noqa: S608
        except OSError as error:
            raise Missing(f"cannot copy {path}: {error.strerror}") from error
        except sqlite3.Error as error:
            raise Missing(f"{path} is damaged: {error}") from error
    return json.dumps(redact.value(rows), indent=2, default=repr) + "\n"


def _spool(directory: Path) -> str:
    try:
        files = sorted(path for path in directory.iterdir() if path.is_file())
    except FileNotFoundError:
        files = []
    found = {path.name: _read(path) for path in files[-SPOOL_FILES:]}
    return _json({"files": len(files), "last": found})


def _cni() -> str:
    told = []
    for directory in (Path("/etc/cni/net.d"), Path("/opt/cni/bin")):
        names = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else ["there is none"]
        told.append("\n".join([f"# {directory}", *names, ""]))
    ours = sorted(Path("/etc/cni/net.d").glob("*qingcloud*"))
    return "\n".join([*told, *(f"# {path}\n{_read(path)}" for path in ours)])


def _sysctls() -> str:
    base = Path("/proc/sys/net/ipv4")
    told = [f"net.ipv4.ip_forward = {_read(base / 'ip_forward').strip()}"]
    for link in sorted((base / "conf").iterdir(), key=lambda one: (one.name not in _NAMES, one.name)):
        values = [(name, link / name) for name in _SYSCTLS]
        told += [f"net.ipv4.conf.{link.name}.{name} = {_read(path).strip()}" for name, path in values if path.exists()]
    return "\n".join(told) + "\n"


def _proc_net() -> str:
    """What is there where not even `ip` is."""
    return "\n".join(f"# /proc/net/{name}\n{_read(Path('/proc/net') / name)}" for name in ("dev", "route", "arp"))


def _system() -> str:
    release = Path("/etc/os-release")
    told = {
        "hostname": platform.node(),
        "kernel": platform.release(),
        "kernel_version": platform.version(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "os_release": _read(release) if release.exists() else "",
        "uptime": time.clock_gettime(time.CLOCK_BOOTTIME),
        "boot_id": _read(Path("/proc/sys/kernel/random/boot_id")).strip(),
        "now": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "load": os.getloadavg(),
        "memory": _read(Path("/proc/meminfo")).splitlines()[:3],
    }
    return _json(told)


# -- programs ---------------------------------------------------------------------------------------------------------


def _network(name: str, where: tuple[str, ...]) -> t.Iterator[Piece]:
    for what, command in (
        ("links", ("-details", "-statistics", "address")),
        ("rules", ("rule",)),
        ("routes", ("route", "show", "table", "all")),
        ("neighbours", ("neighbour",)),
    ):
        yield Piece(f"network/{name}-{what}.txt", f"{what} of the {name} netns", partial(_run, "ip", *where, *command))


def _unit(unit: str) -> str:
    shown = _run("systemctl", "show", "--no-pager", unit)
    return f"# systemctl cat {unit}\n{_run('systemctl', 'cat', '--no-pager', unit)}\n# systemctl show {unit}\n{shown}"


def _active(unit: str) -> str:
    """ "" where nobody can tell."""
    try:
        return _run("systemctl", "show", "--property=ActiveState", "--value", unit).strip()
    except Missing:
        return ""


def _run(*command: str, accepted: tuple[int, ...] = (0,), limit: float = PROGRAM_TIME) -> str:
    """What it prints. Raises `Missing`, with its own words where it fails."""
    environ = {**os.environ, "LC_ALL": "C", "SYSTEMD_COLORS": "0"}
    try:
        done = subprocess.run(
            command, capture_output=True, env=environ, stdin=subprocess.DEVNULL, timeout=limit, check=False
        )
    except FileNotFoundError:
        raise Missing(f"{command[0]} is not installed") from None
    except subprocess.TimeoutExpired:
        raise Missing(f"{command[0]} did not end within {limit:g} s") from None
    except OSError as error:
        raise Missing(f"{command[0]} cannot be run: {error.strerror}") from error
    text = done.stdout.decode("utf-8", "replace")
    if done.returncode not in accepted:
        words = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise Missing(f"{' '.join(command)} failed with {done.returncode}: {words[-1] if words else 'no words'}")
    return text
