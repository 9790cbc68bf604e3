# SPDX-License-Identifier: GPL-3.0-or-later
"""All that a node can say for a report. Nothing here fails: what could not be asked is said instead."""

from __future__ import annotations

import json
import typing as t
from dataclasses import asdict, dataclass
from pathlib import Path

from ..hostnic import wire
from ..hostnic.errors import HostnicError
from ..hostnic.store.sqlite import read
from . import shelf
from .tree import Tree

# As `command.run`.
Runner = t.Callable[..., "tuple[int, str, str]"]
Answer = dict[str, t.Any]

# Question to the agent ► the name under which it is answered here.
QUESTIONS: t.Final[t.Mapping[str, str]] = {
    "version": "version",
    "pool": "nics",
    "leases": "leases",
    "explain": "plan",
    "status": "status",
}
UNIT: t.Final = "qingagent.service"
PATIENCE: t.Final = 10.0  # s for an answer of the agent
DOCTORS_PATIENCE: t.Final = 90.0  # s for all of its checks
_NO_COMMAND: t.Final = 2  # what a command line is refused with
_ANSWERED: t.Final = (0, 3)  # exit status of a doctor that could look: nothing found, something found


@dataclass(frozen=True)
class Places:
    """On the node."""

    socket: str = wire.SOCKET
    statedir: str = "/var/lib/qingagent"
    instance_id: str = "/etc/qingcloud/instance-id"
    qingagent: str = "/usr/local/sbin/qingagent"
    installed: str = shelf.ROOT


def tell(
    places: Places,
    run: Runner,
    doctor: bool = True,
    patience: float = PATIENCE,
    clock: t.Callable[[], float] = wire.boottime,
) -> Answer:
    """The answers. `unasked`: what has no answer ► why. `via`: whose word the NICs are, "" for nobody's."""
    unasked: dict[str, str] = {}
    told: Answer = {} if _stopped(run, unasked) else _of_the_agent(places, patience, unasked)
    if "nics" in told:
        told["via"] = "agent"
    else:
        told.update(_of_the_journal(places, unasked))
    return {
        "instance_id": _instance(places, unasked),
        "installed": _installed(places),
        "now": clock(),
        **told,
        **(_of_the_doctor(places, run, unasked) if doctor else {}),
        "unasked": unasked,
    }


def _stopped(run: Runner, unasked: dict[str, str]) -> bool:
    """Whether systemd would have to start it first, which asking it would make it do."""
    __, said, __ = run(["systemctl", "is-active", UNIT], patience=PATIENCE)
    state = said.strip()
    if state in ("inactive", "failed"):
        unasked["agent"] = f"{UNIT} is {state}: journalctl -u {UNIT}"
        return True
    return False


def _of_the_agent(places: Places, patience: float, unasked: dict[str, str]) -> Answer:
    """Stops at the first question that nobody hears, since each would take all of its time."""
    told: Answer = {}
    for op, name in QUESTIONS.items():
        try:
            told[name] = wire.ask(places.socket, op, timeout=patience)
        except HostnicError as error:
            if error.transient:
                unasked["agent"] = error.message
                break
            unasked[op] = error.message
    return told


def _of_the_journal(places: Places, unasked: dict[str, str]) -> Answer:
    try:
        journal = read(Path(places.statedir))
    except HostnicError as error:
        unasked["journal"] = error.message
        return {"via": ""}
    if not any(journal.binding):
        return {"via": ""}
    rows = {"nics": journal.nics, "leases": journal.leases}
    return {"via": "journal", **{name: json.loads(json.dumps([asdict(row) for row in rows[name]])) for name in rows}}


def _of_the_doctor(places: Places, run: Runner, unasked: dict[str, str]) -> Answer:
    if not Path(places.qingagent).exists():
        unasked["doctor"] = f"{places.qingagent} is not there: run site.yml"
        return {}
    status, said, trouble = run([places.qingagent, "doctor", "--output", "json"], patience=DOCTORS_PATIENCE)
    try:
        value = json.loads(said)
    except ValueError:
        value = None
    if status in _ANSWERED and isinstance(value, dict):
        return {"doctor": value}
    if status == _NO_COMMAND:
        unasked["doctor"] = "the package there has none yet: run upgrade.yml"
        return {}
    lines = (trouble.strip() or said.strip()).splitlines()
    unasked["doctor"] = f"exit status {status}: {lines[-1] if lines else 'it said nothing'}"
    return {}


def _instance(places: Places, unasked: dict[str, str]) -> str:
    try:
        return Path(places.instance_id).read_text(encoding="utf-8", errors="replace").strip()
    except OSError as error:
        unasked["instance"] = str(error)
        return ""


def _installed(places: Places) -> dict[str, str]:
    """Empty where no version is laid down, or none that can be read."""
    tree = Tree(Path(places.installed))
    try:
        manifest = tree.manifest(tree.active())
    except (OSError, ValueError):
        return {}
    return {name: str(manifest.get(name, "")) for name in ("version", "digest")} if manifest else {}
