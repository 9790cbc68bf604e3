# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces and links of the lab."""

from __future__ import annotations

import json
from pathlib import Path

from tests.lab import mounts
from tests.lab.paths import PREFIX, RUN
from tests.lab.sh import run

_NAMED = Path("/run/netns")
_OUR_MOUNT = RUN / "netns-mount"


def prepare() -> None:
    """The first `ip netns add` of a machine leaves a mount behind: remember when that is going to be ours."""
    if not _is_mount():
        _OUR_MOUNT.touch()


def _is_mount() -> bool:
    # Path.is_mount does not see a folder that is mounted on itself.
    return _NAMED in mounts.below(_NAMED)


def release() -> None:
    """Take that mount away again, unless somebody else has come to use it."""
    if _OUR_MOUNT.exists() and _is_mount() and not any(_NAMED.iterdir()):
        run(["umount", str(_NAMED)], check=False)


def add(name: str) -> None:
    run(["ip", "netns", "add", name])
    run(["ip", "-n", name, "link", "set", "lo", "up"])


def names() -> list[str]:
    """Named network namespaces with our prefix, empty leftovers of a killed `ip netns add` too."""
    return sorted(path.name for path in _NAMED.glob(f"{PREFIX}-*"))


def delete(name: str) -> None:
    """Remove the name and what holds it; a file that is no mount any more as well."""
    if run(["ip", "netns", "delete", name], check=False).returncode:
        (_NAMED / name).unlink(missing_ok=True)


def links(netns: str | None = None) -> list[str]:
    where = ["-n", netns] if netns else []
    return [str(link["ifname"]) for link in json.loads(run(["ip", *where, "-j", "link"]).stdout or "[]")]


def our_links() -> list[str]:
    """Links with our prefix in this machine's own namespace."""
    return [name for name in links() if name.startswith(f"{PREFIX}-")]


def routes() -> list[str]:
    """Destinations of this machine's own routes."""
    found = json.loads(run(["ip", "-4", "-j", "route", "show", "table", "all"]).stdout or "[]")
    return [str(route["dst"]) for route in found if route.get("type", "unicast") == "unicast"]


def address(netns: str, link: str, cidr: str, gateway: str) -> None:
    """What cloud-init does to a server's primary NIC."""
    for words in (
        ["addr", "replace", cidr, "dev", link],
        ["link", "set", link, "up"],
        ["route", "replace", "default", "via", gateway],
    ):
        run(["ip", "-n", netns, *words])
