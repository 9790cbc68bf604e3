# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the agent itself: is it installed, does it run, does it answer, and does anybody hold it still."""

from __future__ import annotations

import sys
import typing as t
from dataclasses import fields
from importlib.util import find_spec

from ..agent import about
from ..agent.degradation import FILE as DEGRADATION
from ..config import Settings
from ..errors import HostnicError, InvalidConfig
from ..host import python_problem, systemd_problem
from ..observe import QUIET_LIMIT
from . import units
from .finding import CannotTell, Seen, error, unchecked, warning
from .patient import Patient

PACKAGES: t.Final = ("pyroute2", "qingcloud", "yaml", "prometheus_client")
ROLL_OUT: t.Final = "run the playbook qingcloud.cni.site for this node"
LOG: t.Final = "journalctl -u qingagent.service -n 50"
# s: a restart by systemd longer ago than this is history; a start since then may still be looking for the cloud.
RECENT: t.Final = 3600.0
STARTING: t.Final = 60.0
_BY_THE_UNIT: t.Final = ("--", "QINGAGENT_", "CREDENTIALS_")


def python(__: Patient) -> t.Iterator[Seen]:
    problem = python_problem()
    if problem:
        yield error(problem, f"install one, name it in ansible_python_interpreter, and {ROLL_OUT}")
    missing = [package for package in PACKAGES if find_spec(package) is None]
    if missing:
        yield error(f"{sys.executable} does not find the packages {', '.join(missing)}", ROLL_OUT)


def systemd(patient: Patient) -> t.Iterator[Seen]:
    told = patient.reader.output(("systemctl", "--version"))
    if told is None:
        raise CannotTell("there is no systemctl on this node")
    problem = systemd_problem(told)
    if problem:
        yield error(problem, "use a newer distribution: the README names those that are known to work")


def installed(patient: Patient) -> t.Iterator[Seen]:
    found = patient.units()
    for name in units.OURS:
        unit = found[name]
        if unit.load == "masked":
            yield error(f"{name} is masked, so it can never start", f"systemctl unmask {name}")
        elif not unit.loaded:
            yield error(f"{name} is not installed", ROLL_OUT)
    idle = [name for name in units.OURS if found[name].loaded and not found[name].enabled]
    if idle:
        what = f"{' and '.join(idle)} would not start with the machine: after a reboot no pod gets a NIC"
        yield warning(what, f"systemctl enable {' '.join(idle)}")


def runs(patient: Patient) -> t.Iterator[Seen]:
    try:
        troubles = list(_idle(patient.units()))
    except CannotTell:  # without systemd; an agent may have been started by hand
        troubles = []
    yield from troubles
    if troubles:
        return
    patient.told()  # what cannot be read is told by another check
    try:
        patient.answer("ping")
    except HostnicError as silent:
        yield error(silent.message, f"systemctl restart {units.AGENT}")


def _idle(found: t.Mapping[str, units.Unit]) -> t.Iterator[Seen]:
    """What systemd says of an agent that does not run."""
    agent, socket = found[units.AGENT], found[units.SOCKET]
    if not units.installed(found):
        return
    if agent.sub == "auto-restart":
        yield error("the agent ends again and again, and systemd starts it anew", LOG)
    elif agent.state in ("activating", "deactivating", "reloading"):
        yield warning(f"the agent is {agent.state} just now", LOG)
    else:
        if not agent.active:
            said = f"the agent does not run ({units.AGENT} is {agent.state})"
            waits = ": pods start only once a call has started it" if socket.active else ""
            yield error(f"{said}{waits}", f"systemctl start {units.AGENT}")
        if not socket.active:
            yield error(f"{units.SOCKET} is {socket.state}: no pod starts", f"systemctl start {units.SOCKET}")


def restarts(patient: Patient) -> t.Iterator[Seen]:
    agent = patient.units()[units.AGENT]
    ago = patient.monotonic() - agent.since
    if agent.restarts and agent.active and ago < RECENT:
        yield warning(
            f"systemd has restarted the agent by itself, {agent.restarts} times in all and {ago / 60:.0f} min ago for "
            "the last time: it died, or its watchdog found it stuck",
            "journalctl -u qingagent.service --since -2h -p warning",
        )


def version(patient: Patient) -> t.Iterator[Seen]:
    here = about.package()["digest"]
    if not here:
        raise CannotTell("this package was not laid down by the role, so there is nothing to compare with")
    running = patient.answer("version").get("digest") or "one that cannot tell"
    if running != here:
        what = f"the agent that runs is version {running}, and installed is {here}"
        yield warning(what, f"systemctl restart {units.AGENT}")


def settings(patient: Patient) -> t.Iterator[Seen]:
    try:
        patient.told()
    except InvalidConfig as wrong:
        yield error(wrong.message, f"put it right in /etc/qingagent, then systemctl restart {units.AGENT}")


def in_use(patient: Patient) -> t.Iterator[Seen]:
    """What is set by the unit itself, this process cannot know."""
    running = patient.answer("settings")
    here = {one.metadata["key"]: getattr(patient.settings, one.name) for one in fields(Settings)}
    other: dict[str, list[str]] = {}
    for key, told in running.items():
        wanted = list(here[key]) if isinstance(here.get(key), tuple) else here.get(key)
        if key in here and told["value"] != wanted and not told["origin"].startswith(_BY_THE_UNIT):
            other.setdefault(told["changes_by"], []).append(f"{key} {told['value']} instead of {wanted}")
    for way, differing in other.items():
        what = f"the agent runs with {', '.join(differing)}, as its configuration has it now"
        yield warning(what, f"systemctl {way} {units.AGENT}")


def last_look(patient: Patient) -> t.Iterator[Seen]:
    told = patient.answer("explain")
    if "looked_ago" not in told:
        raise CannotTell("the agent that runs is too old to tell")
    allowed = 3 * max(QUIET_LIMIT, patient.settings.reconcile_interval)
    remedy = "qingagent explain says under `trouble` why; qingagent look has it look at once"
    if told["looked_ago"] is None:
        if patient.monotonic() - patient.units()[units.AGENT].since > STARTING:
            yield error("the agent has not seen the cloud since it was started, so it makes no NIC", remedy)
    elif told["looked_ago"] > allowed:
        what = f"the agent has not looked at the cloud for {told['looked_ago'] / 60:.0f} min"
        yield error(f"{what}, and looks each {allowed / 180:.0f} min at the latest", remedy)


def held_still(patient: Patient) -> t.Iterator[Seen]:
    path = f"{patient.settings.statedir}/{DEGRADATION}"
    if patient.reader.at(path).exists():
        level = patient.reader.text(path).strip()
        what = f"an operator holds the agent still: {path} says {level or 'nothing'}"
        yield warning(f"{what}, so it changes less in the cloud than it would", f"rm {path}")
    elif patient.settings.degradation:
        what = f"an operator holds the agent still: its setting degradation is {patient.settings.degradation}"
        yield warning(what, "take degradation out of the agent's settings (qingagent_degradation of the role)")
    try:
        draining = patient.answer("explain")["draining"]
    except CannotTell as away:
        yield unchecked(f"whether the node is drained: {away.message}")
        return
    if draining:
        yield warning("an operator has drained this node: no pod starts", "qingagent resume")
