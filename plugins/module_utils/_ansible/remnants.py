# SPDX-License-Identifier: GPL-3.0-or-later
"""What a stopped agent and the roles leave on a node: found, removed, and told where it stays."""

from __future__ import annotations

import json
import shutil
import typing as t
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ..hostnic.model import GATEWAY_LINKS
from ..hostnic.net.guard import FILES, ManagerGuard
from ..hostnic.net.nft import NAME as TABLE
from ..hostnic.net.replies import ReplyRouting
from . import fsio

# As `command.run`.
Runner = t.Callable[[t.Sequence[str]], "tuple[int, str, str]"]

PARKING: t.Final = "qingagent"
ROLE: t.Final = "role qingcloud.cni.qingagent"  # in the first line of what its templates make
SNIPPETS: t.Final = ("etc/cloud/cloud.cfg.d/99-qingcloud-cni.cfg", "etc/sysctl.d/99-qingcloud-cni.conf")
UNITS: t.Final = ("qingagent.service", "qingagent.socket", "qingagent-netns.service")
_REPLIES: t.Final = ReplyRouting("", "", "")


@dataclass(frozen=True)
class Places:
    """Where things of ours may lie. Relative to `root`, which is / but in tests."""

    package: str = "/usr/lib/hostnic"
    statedir: str = "/var/lib/qingagent"
    rundir: str = "/run/qingagent"
    access_file: str = "/etc/qingcloud/client.yaml"
    bin_dirs: t.Sequence[str] = ()
    conf_dirs: t.Sequence[str] = ()
    root: Path = Path("/")

    def at(self, path: str) -> Path:
        return self.root / path.lstrip("/")


@dataclass(frozen=True)
class Thing:
    """One thing that should not be there. `remove` returns "" or why it stays."""

    name: str
    there: t.Callable[[], bool]
    remove: t.Callable[[], str]


@dataclass
class Cleared:
    """`found`: what was there before; `leftovers`: a sentence for each that stays."""

    found: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)


def clear(things: t.Iterable[Thing], check: bool) -> Cleared:
    """`check`: only look."""
    done = Cleared()
    for thing in things:
        if not thing.there():
            continue
        done.found.append(thing.name)
        if not check:
            trouble = thing.remove()
            if trouble or thing.there():
                done.leftovers.append(f"{thing.name} is still there: {trouble or 'it came back'}")
    return done


def things(places: Places, run: Runner) -> list[Thing]:
    """In the order in which they go: rules first, the journal and what a second run needs to know last."""
    return [
        _nft(run),
        _rule(run),
        *_links(places),
        _guards(places),
        _netns(places, run),
        *[_unit(places, run, unit) for unit in UNITS],
        *_paths(places),
    ]


def strays(run: Runner, places: Places) -> list[str]:
    """What is not for us to remove, but should not be there: a sentence each."""
    found = [
        f"link {link} of a gateway NIC is still on the host: its NIC is attached to this instance"
        for link in _link_names(run, [])
        if link.startswith(GATEWAY_LINKS) and len(link) == len(GATEWAY_LINKS) + 12
    ]
    for directory in places.conf_dirs:
        for path in sorted(places.at(directory).glob("*")):
            if '"qingcni"' in (fsio.read(path) or b"").decode("utf-8", "replace"):
                found.append(f"{directory}/{path.name} still names the plugin qingcni: remove it, or its line")
    return found


# -- rules -------------------------------------------------------------------------------------------------------------


def _nft(run: Runner) -> Thing:
    table = ["table", "ip", TABLE]
    return Thing(
        f"nftables table ip {TABLE}",
        lambda: run(["nft", "list", *table])[0] == 0,
        lambda: _trouble(run, ["nft", "delete", *table]),
    )


def _rule(run: Runner) -> Thing:
    """The rule of symmetric replies, and the routes that it alone led to."""
    mark, table = f"{_REPLIES.mark:#x}/{_REPLIES.mark:#x}", str(_REPLIES.table)
    selector = ["fwmark", mark, "lookup", table]

    def there() -> bool:
        __, said, __ = run(["ip", "-4", "rule", "show", "priority", str(_REPLIES.preference)])
        return all(word in said.split() for word in selector)

    def remove() -> str:
        run(["ip", "-4", "route", "flush", "table", table])
        return _trouble(run, ["ip", "-4", "rule", "delete", "priority", str(_REPLIES.preference), *selector])

    return Thing(f"ip rule {_REPLIES.preference} of symmetric replies", there, remove)


# -- namespaces and network managers -----------------------------------------------------------------------------------


def _netns(places: Places, run: Runner) -> Thing:
    path = places.at(f"/run/netns/{PARKING}")

    def remove() -> str:
        waiting = [link for link in _link_names(run, ["-netns", PARKING]) if link != "lo"]
        if waiting:
            return f"{', '.join(waiting)} would come back to the host with it"
        if _trouble(run, ["ip", "netns", "delete", PARKING]):  # no namespace, but an empty file of that name
            return _drop(path)
        return ""

    return Thing(f"network namespace {PARKING}", lambda: _lies(path), remove)


def _guards(places: Places) -> Thing:
    def remove() -> str:
        ManagerGuard(places.root).protect(())
        # of one that is not installed any more
        return "; ".join(filter(None, [_drop(places.at(path)) for path in FILES]))

    return Thing(
        "files that keep network managers off pods' NICs",
        lambda: any(_lies(places.at(path)) for path in FILES),
        remove,
    )


# -- files -------------------------------------------------------------------------------------------------------------


def _links(places: Places) -> t.Iterator[Thing]:
    """Links to the package, which is gone or about to go."""
    for directory in places.bin_dirs:
        path = places.at(f"{directory}/qingcni")
        yield Thing(
            f"link {directory}/qingcni",
            partial(_leads_into, path, places.package),
            partial(_drop, path),
        )


def _unit(places: Places, run: Runner, unit: str) -> Thing:
    """What an installation that was damaged leaves of it, and that systemd remembers how it failed."""
    directory = places.at("/etc/systemd/system")

    def lying() -> list[Path]:
        return [path for path in (directory / unit, *directory.glob(f"*.wants/{unit}")) if _lies(path)]

    def there() -> bool:
        return bool(lying()) or run(["systemctl", "is-failed", "--quiet", unit])[0] == 0

    def remove() -> str:
        troubles = [_drop(path) for path in lying()]
        run(["systemctl", "daemon-reload"])
        run(["systemctl", "reset-failed", unit])
        return "; ".join(filter(None, troubles))

    return Thing(f"unit {unit}", there, remove)


def _paths(places: Places) -> t.Iterator[Thing]:
    access = places.at(places.access_file)
    yield Thing(
        places.access_file,
        lambda: ROLE in (fsio.read(access) or b"").partition(b"\n")[0].decode("utf-8", "replace"),
        lambda: _drop(access),
    )
    for path in (*SNIPPETS, "etc/qingagent", places.rundir, places.statedir):
        place = places.at(path)
        yield Thing(f"/{path.lstrip('/')}", partial(_lies, place), partial(_drop, place))


def _leads_into(link: Path, directory: str) -> bool:
    return (fsio.target(link) or "").startswith(f"{directory}/")


def _lies(path: Path) -> bool:
    return path.is_symlink() or path.exists()


def _drop(path: Path) -> str:
    try:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            fsio.remove(path)
    except OSError as error:
        return str(error)
    return ""


def _link_names(run: Runner, words: t.Sequence[str]) -> list[str]:
    status, said, __ = run(["ip", *words, "-json", "link", "show"])
    return [link["ifname"] for link in json.loads(said)] if status == 0 and said.strip() else []


def _trouble(run: Runner, command: t.Sequence[str]) -> str:
    status, said, trouble = run(command)
    return (trouble.strip() or said.strip() or f"{command[0]} failed") if status else ""
