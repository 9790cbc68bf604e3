# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what the agent keeps: directories, journal, spool, and the NICs that wait."""

from __future__ import annotations

import time
import typing as t

from .. import guarded
from ..errors import InvalidConfig, LinkFailed
from ..states import State
from ..store.failure import StoreFailed
from ..store.sqlite import FILE
from . import units
from .finding import Seen, error, warning, with_command
from .patient import CONFIGURATION, Patient

LITTLE: t.Final = 128 << 20  # bytes; a journal takes some MB
TOO_LITTLE: t.Final = 16 << 20
FEW_FILES: t.Final = 1000
OLD: t.Final = 60.0  # s: an agent that runs empties the spool each few seconds
LOOK_AGAIN: t.Final = 0.5  # s, longer than a NIC takes from its hot-plug to its place
RESTART: t.Final = f"systemctl restart {units.AGENT}"


def private(patient: Patient) -> t.Iterator[Seen]:
    """What the agent refuses when it starts, and what it would not mind but should."""
    where = patient.settings
    for path, mode, refuse in (
        (where.statedir, 0o700, guarded.place),
        (f"{where.statedir}/{FILE}", 0o600, guarded.regular),
        (f"{where.statedir}/spool", 0o700, guarded.place),
        (where.rundir, 0o700, guarded.place),
        (f"{where.rundir}/qingagent.sock", 0o600, None),
        (f"{where.rundir}/token", 0o600, guarded.regular),
        (CONFIGURATION, 0o755, guarded.place),
    ):
        try:
            if refuse:
                refuse(patient.reader.at(path))
        except InvalidConfig as planted:
            yield with_command(error, planted, f"put {path} right, then {RESTART}")
            continue
        found = patient.reader.mode(path)
        if found is not None and found & ~mode & 0o077:
            what = f"{path} is open to others (mode {found:04o}), who get at this node's NICs by it"
            yield error(what, f"chmod {mode:04o} {path}")


def disk(patient: Patient) -> t.Iterator[Seen]:
    path = patient.settings.statedir
    left = patient.reader.space(patient.reader.at(path))
    if left.bytes < LITTLE:
        say = error if left.bytes < TOO_LITTLE else warning
        yield say(f"{left.bytes >> 20} MiB are left for the journal in {path}", f"make room where {path} lies")
    if left.files is not None and left.files < FEW_FILES:
        yield error(f"only {left.files} files may still be made where {path} lies", f"remove files where {path} lies")


def journal(patient: Patient) -> t.Iterator[Seen]:
    try:
        __, owner = patient.journal().binding
    except StoreFailed as broken:
        yield error(broken.message, f"{RESTART}: it keeps what it cannot read aside, and goes on with the rest")
        return
    instance_id = patient.instance_id()
    if owner and owner != instance_id:
        what = f"the journal is that of {owner}, and this is {instance_id}: it was copied with a disk or an image"
        yield error(what, RESTART)


def spool(patient: Patient) -> t.Iterator[Seen]:
    directory = f"{patient.settings.statedir}/spool"
    damaged = patient.reader.files(directory, "*.damaged")
    if damaged:
        what = f"{len(damaged)} DELs in {directory} could not be carried out and were set aside"
        yield warning(f"{what}; NICs of pods that are gone come back by themselves", f"rm {directory}/*.damaged")
    late = [path for path in patient.reader.files(directory, "*.json") if _age(patient, path) > OLD]
    if late:
        what = f"{len(late)} DELs in {directory} wait for longer than a minute: those pods' NICs are not free yet"
        yield warning(what, "journalctl -u qingagent.service -g spool says why")


def _age(patient: Patient, path: t.Any) -> float:
    try:
        return patient.wall() - float(path.stat().st_mtime)
    except FileNotFoundError:  # carried out just now
        return 0.0


def parking(patient: Patient) -> t.Iterator[Seen]:
    try:
        missing = _not_parked(patient)
    except LinkFailed as failed:
        what = f"the namespace in which ready NICs wait is not there: {failed.message}"
        yield error(what, f"systemctl restart {units.NETNS} {units.AGENT}")
        return
    if missing:
        what = f"NICs that should wait in the namespace qingagent are not there: {', '.join(sorted(missing))}"
        yield error(what, RESTART)


def _not_parked(patient: Patient) -> set[str]:
    """At two looks: NICs come and go in between."""
    there = patient.reader.parked()
    missing = _ready(patient, "answer") - there.keys()
    if not missing:
        return missing
    time.sleep(LOOK_AGAIN)
    there = patient.reader.parked()
    return missing & _ready(patient, "fresh") - there.keys()


def _ready(patient: Patient, way: str) -> set[str]:
    if not patient.runs():
        return set()
    return {nic["nic_id"] for nic in getattr(patient, way)("pool") if nic["state"] == State.READY}


def loose(patient: Patient) -> t.Iterator[Seen]:
    found = _on_the_host(patient)
    if found:
        time.sleep(LOOK_AGAIN)
        found = {link: mac for link, mac in _on_the_host(patient).items() if link in found}
    for link, mac in sorted(found.items()):
        what = f"NIC {mac} is ready for a pod but lies among the host's links as {link}: somebody keeps it there"
        yield error(what, f"find out who configures {link} (networkctl, nmcli), then {RESTART}")


def _on_the_host(patient: Patient) -> dict[str, str]:
    ready = {nic_id for nic_id, state in patient.nics().items() if state in (State.READY, State.QUARANTINE)}
    return {link: mac for link, mac in patient.reader.host.macs().items() if mac in ready}
