# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs without a pool: what has to be done so that so many of one name, or just these, are in a state. Pure."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass, field

from .errors import Denied, HostnicError, InvalidConfig, NotFound
from .model import CloudNic, nic_names

PRESENT: t.Final = "present"
ATTACHED: t.Final = "attached"
DETACHED: t.Final = "detached"
ABSENT: t.Final = "absent"


class Use(enum.Enum):
    """Whether a pod has the NIC. UNKNOWN means leave alone."""

    IDLE = "idle"
    BUSY = "busy"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Seen:
    """A NIC as the cloud shows it; `use` matters where it is attached."""

    nic: CloudNic
    use: Use = Use.UNKNOWN


@dataclass(frozen=True)
class Wanted:
    """NICs by `nic_ids`; else `count` of those called `name`, in `vxnet_id` if that is given, with `private_ips` if so.

    `count` None: one to be there, all to be gone. `instance_id`: where they are attached; "" is any, and none to attach
    to.
    """

    state: str
    name: str = ""
    instance_id: str = ""
    nic_ids: tuple[str, ...] = ()
    count: t.Optional[int] = None
    vxnet_id: str = ""
    private_ips: tuple[str, ...] = ()
    force: bool = False

    def fits(self, nic: CloudNic) -> bool:
        """Whether it is one of those, by what does not change."""
        if self.nic_ids:
            return nic.nic_id in self.nic_ids
        return (
            nic.nic_name == self.name
            and nic.role != 1
            and self.vxnet_id in ("", nic.vxnet_id)
            and (not self.private_ips or nic.private_ip in self.private_ips)
            and (not nic.attached or self.instance_id in ("", nic.instance_id))
        )

    def reached(self, nic: CloudNic) -> bool:
        """Whether it is where it is wanted."""
        if self.state == ATTACHED:
            return nic.attached and self.instance_id in ("", nic.instance_id)
        return self.state == PRESENT or (self.state == DETACHED and not nic.attached)


@dataclass(frozen=True)
class Plan:
    """In this order. New NICs are attached as well where `attach_new` says so; all of `delete` are free by then."""

    create: int = 0
    private_ips: tuple[str, ...] = ()  # of new NICs, or none
    attach_new: bool = False
    attach: tuple[CloudNic, ...] = ()
    detach: tuple[CloudNic, ...] = ()
    delete: tuple[CloudNic, ...] = ()
    left: tuple[str, ...] = field(
        default=(), compare=False
    )  # ids that stay because nobody knows whether a pod has them

    @property
    def changes(self) -> bool:
        return bool(self.create or self.attach or self.detach or self.delete)


def owner_of(nic_name: str, gatewayns: str) -> str:
    """The instance whose agent calls a NIC so; "" where the name is none of ours."""
    instance_id = nic_name.rpartition("_")[2]
    ours = instance_id.startswith("i-") and nic_name in nic_names(instance_id, gatewayns).values()
    return instance_id if ours else ""


def plan(wanted: Wanted, seen: t.Sequence[Seen], gatewayns: str = "hostnic") -> Plan:
    """What to do. Raises `Denied`, `NotFound` or `InvalidConfig` where it must not, cannot or does not say enough."""
    found = [one for one in seen if wanted.fits(one.nic)]
    if wanted.nic_ids:
        return _these(wanted, found, gatewayns)
    free = sorted((one.nic for one in found if not one.nic.attached), key=_age)
    idle = sorted((one.nic for one in found if one.nic.attached and one.use is Use.IDLE), key=_age)
    unknown = [one.nic for one in found if one.nic.attached and one.use is Use.UNKNOWN]
    if wanted.state == ABSENT:
        takers = [*reversed(free), *reversed(idle)][: wanted.count]
        return _gone(takers, [nic.nic_id for nic in unknown])
    if wanted.state == DETACHED:
        return _detached(wanted, free, idle, unknown)
    if wanted.private_ips:
        return _addresses(wanted, [one.nic for one in found])
    count = 1 if wanted.count is None else wanted.count
    attached = len(idle) + len(unknown)
    if wanted.state == PRESENT:
        return _growth(wanted, max(0, count - attached - len(free)))
    lacking = max(0, count - attached)
    return _growth(wanted, max(0, lacking - len(free)), free[:lacking])


def _age(nic: CloudNic) -> tuple[float, str]:
    return nic.created, nic.nic_id


def _growth(wanted: Wanted, create: int, attach: t.Sequence[CloudNic] = (), ips: tuple[str, ...] = ()) -> Plan:
    if create and not wanted.vxnet_id:
        raise InvalidConfig(
            f"vxnet is not given, and {create} more NICs have to be made: name the vxnet to make them in"
        )
    if wanted.state == ATTACHED and not wanted.instance_id and (create or attach):
        raise InvalidConfig("instance is not given: name the instance to attach NICs to")
    return Plan(create, ips, bool(create) and wanted.state == ATTACHED, tuple(attach))


def _addresses(wanted: Wanted, found: t.Sequence[CloudNic]) -> Plan:
    """Each address is one NIC, whoever uses it."""
    there = {nic.private_ip for nic in found}
    missing = tuple(address for address in wanted.private_ips if address not in there)
    free = [nic for nic in found if not nic.attached] if wanted.state == ATTACHED else []
    return _growth(wanted, len(missing), sorted(free, key=_age), missing)


def _detached(
    wanted: Wanted, free: t.Sequence[CloudNic], idle: t.Sequence[CloudNic], unknown: t.Sequence[CloudNic]
) -> Plan:
    lacking = len(idle) + len(unknown) if wanted.count is None else max(0, wanted.count - len(free))
    if lacking > len(idle) and unknown:
        raise Denied(
            f"{len(unknown)} NICs called {wanted.name} are attached to {unknown[0].instance_id}, and only that node"
            " knows whether pods use them: run this there, or name them in nics and set force"
        )
    if lacking > len(idle):
        raise NotFound(
            f"only {len(free) + len(idle)} NICs called {wanted.name} are not in use, of {wanted.count} that should be"
            " detached: lower count, or make some with state=present"
        )
    return Plan(detach=tuple(list(reversed(idle))[:lacking]))


def _gone(nics: t.Sequence[CloudNic], left: t.Sequence[str] = ()) -> Plan:
    return Plan(detach=tuple(nic for nic in nics if nic.attached), delete=tuple(nics), left=tuple(left))


def _these(wanted: Wanted, seen: t.Sequence[Seen], gatewayns: str) -> Plan:
    found = {one.nic.nic_id: one for one in seen}
    missing = [nic_id for nic_id in wanted.nic_ids if nic_id not in found]
    if missing and wanted.state != ABSENT:
        raise NotFound(f"nics: the cloud has no NIC {', '.join(missing)} in this zone")
    change = [found[nic_id] for nic_id in wanted.nic_ids if nic_id in found and not wanted.reached(found[nic_id].nic)]
    for one in change:
        problem = _why_not(wanted, one, gatewayns)
        if problem:
            raise problem
    nics = [one.nic for one in change]
    if wanted.state == ATTACHED:
        return _growth(wanted, 0, nics)
    return Plan(detach=tuple(nics)) if wanted.state == DETACHED else _gone(nics)


def _why_not(wanted: Wanted, one: Seen, gatewayns: str) -> t.Optional[HostnicError]:
    """Why this NIC, which was named, is left alone all the same."""
    nic = one.nic
    if wanted.state == ATTACHED and nic.attached:
        return Denied(f"nics: {nic.nic_id} is attached to {nic.instance_id}: detach it first")
    if wanted.force:
        return None
    if nic.role == 1:
        return Denied(
            f"nics: {nic.nic_id} is the primary NIC of {nic.instance_id}: it is left alone unless force is set"
        )
    owner = owner_of(nic.nic_name, gatewayns)
    astray = bool(owner) and nic.instance_id not in ("", owner)
    if astray or (not owner and nic.nic_name != wanted.name):
        called = f"called {nic.nic_name!r}" if nic.nic_name else "without a name"
        return Denied(f"nics: {nic.nic_id}, {called}, is not ours: it is left alone unless force is set")
    if nic.attached and one.use is not Use.IDLE:
        knows = "a pod uses it" if one.use is Use.BUSY else f"only {nic.instance_id} knows whether a pod uses it"
        return Denied(f"nics: {nic.nic_id} is left alone, since {knows}: run this on that node, or set force")
    return None
