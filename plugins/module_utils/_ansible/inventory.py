# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances as hosts of an inventory: their variables, which of them are wanted, how they are called and reached."""

from __future__ import annotations

import difflib
import fnmatch
import typing as t
from collections import Counter

from ..hostnic.errors import InvalidConfig
from ..hostnic.model import Instance

Facts = dict[str, t.Any]

PREFIX: t.Final = "qingcloud_"
FILTERS: t.Final = ("instances", "names", "statuses", "tags", "types", "vxnets")
STATUSES: t.Final = ("pending", "running", "stopped", "suspended", "terminated", "ceased")
# How a host may be called, and what ansible_host may be.
NAMES: t.Final = ("instance_name", "instance_id", "primary", "eip")


def facts(instance: Instance, zone: str) -> Facts:
    """What is kept of an instance, JSON-ready; `zone` is the one that was asked, for answers that do not tell."""
    nics = sorted(instance.nics, key=lambda nic: nic.role != 1)
    return {
        "instance_id": instance.instance_id,
        "instance_name": instance.name,
        "zone": instance.zone or zone,
        "status": instance.status,
        "transition_status": instance.transition,
        "instance_type": instance.instance_type,
        "image_id": instance.image_id,
        "eip": instance.eip,
        "tags": [name or tag_id for tag_id, name in instance.tags],
        "tag_ids": list(dict(instance.tags)),
        "vxnets": list(dict.fromkeys(nic.vxnet_id for nic in nics)),
        "nics": [
            {"nic_id": nic.nic_id, "vxnet_id": nic.vxnet_id, "private_ip": nic.private_ip, "primary": nic.role == 1}
            for nic in nics
        ],
    }


def check_filters(filters: t.Mapping[str, t.Any]) -> dict[str, list[str]]:
    """Each as a list. Raises `InvalidConfig` naming what is wrong."""
    wanted: dict[str, list[str]] = {}
    for name, value in filters.items():
        known(name, FILTERS, "filters")
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(one, str) and one for one in values):
            raise InvalidConfig(f"filters: {name} must be a text or a list of texts: leave it out to have all")
        wanted[name] = values
    for status in wanted.get("statuses", []):
        known(status, STATUSES, "filters: statuses")
    return wanted


def known(word: str, choices: t.Collection[str], where: str) -> None:
    """Raise `InvalidConfig` for a word that is none of these, with the nearest that is."""
    if word not in choices:
        nearest = difflib.get_close_matches(str(word), choices, n=1, cutoff=0.0)
        raise InvalidConfig(f"{where}: unknown {word!r}, the nearest valid one is {nearest[0]!r}")


def wanted(host: Facts, filters: t.Mapping[str, t.Sequence[str]]) -> bool:
    """Whether each filter has something that the host has. Running ones, where statuses do not say otherwise."""
    has = {
        "instances": [host["instance_id"]],
        "statuses": [host["status"]],
        "tags": [*host["tags"], *host["tag_ids"]],
        "types": [host["instance_type"]],
        "vxnets": host["vxnets"],
    }
    rules = {"statuses": ["running"], **filters}
    patterns = rules.pop("names", None)
    if patterns is not None and not any(fnmatch.fnmatchcase(host["instance_name"], one) for one in patterns):
        return False
    return all(set(has[name]).intersection(values) for name, values in rules.items())


def named(hosts: t.Iterable[Facts], preferences: t.Sequence[str]) -> dict[str, Facts]:
    """Name ► host: by the first of the preferences that each has and shares with nobody, else by its id."""
    hosts = list(hosts)
    shared = {one: Counter(_told(host, one) for host in hosts) for one in preferences}
    ids = {host["instance_id"] for host in hosts}
    found: dict[str, Facts] = {}
    for host in hosts:
        own = [_told(host, one) for one in preferences if shared[one][_told(host, one)] == 1]
        names = [name for name in own if name and name not in ids and name not in found]
        found[next(iter(names), host["instance_id"])] = host
    return found


def address(host: Facts, preferences: t.Sequence[str]) -> str:
    """The first of the preferences that the host has; "" for none. A vxnet's id stands for the address in it."""
    for one in preferences:
        within = [nic["private_ip"] for nic in host["nics"] if nic["vxnet_id"] == one]
        told = within[0] if within else _told(host, one)
        if told:
            return str(told)
    return ""


def check_address(preferences: t.Sequence[str]) -> None:
    """Raises `InvalidConfig`."""
    for one in preferences:
        if not one.startswith("vxnet-"):
            known(one, NAMES, "ansible_host")


def variables(host: Facts) -> Facts:
    return {PREFIX + name: value for name, value in host.items()}


def _told(host: Facts, what: str) -> str:
    if what == "primary":
        return next((nic["private_ip"] for nic in host["nics"] if nic["primary"]), "") or ""
    return str(host.get(what) or "")
