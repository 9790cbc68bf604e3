# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case behind `qingcloud_nic`: which instance, who is asked, what is done and what is told of it."""

from __future__ import annotations

import contextlib
import functools
import time
import typing as t
from dataclasses import dataclass, replace

from ..hostnic import config
from ..hostnic.errors import Denied, InvalidConfig
from ..hostnic.host import Host
from ..hostnic.model import POOL, CloudNic, nic_names
from ..hostnic.nics import ATTACHED, Plan, Seen, Use, Wanted, owner_of, plan
from ..hostnic.nicwork import Worker
from ..hostnic.ports import Cloud
from . import agent as agents
from .nic_facts import facts, picture
from .pooled import Pooled
from .turns import turn

Options = t.Mapping[str, t.Any]


@dataclass(frozen=True)
class Place:
    """`instance_id` "": no instance is meant. `here`: it is proven to be this machine; `agent`: it answers here."""

    instance_id: str = ""
    here: bool = False
    agent: t.Optional[agents.Agent] = None


def manage(
    options: Options,
    cloud: Cloud,
    check: bool,
    host: t.Optional[Host] = None,
    clock: t.Callable[[], float] = time.monotonic,
    sleep: t.Callable[[float], object] = time.sleep,
) -> dict[str, t.Any]:
    """The module's result. Raises `HostnicError`."""
    host = host or Host()
    waiting: dict[str, t.Any] = {"wait": options["wait"], "timeout": options["wait_timeout"], "clock": clock}
    waiting["sleep"] = sleep
    check_options(options)
    place = find_place(options, cloud, host)
    wanted = wanted_of(options, place.instance_id)
    if place.agent is not None:
        pooled = Pooled(place.agent, wanted, **waiting)
        ids = pooled.concerned()
        if ids is not None:
            return pooled.carry_out(ids, check)
    uses = functools.partial(_uses, host=host, place=place, gatewayns=options["gatewayns"])
    with contextlib.nullcontext() if check else turn(wanted.name or "nics", options["wait_timeout"], clock, sleep):
        return _through_the_cloud(options, Worker(cloud, wanted, **waiting), check, place, wanted, uses)


def check_options(options: Options) -> None:
    """What the argument spec cannot say. Raises `InvalidConfig` naming the option."""
    count, ips = options["count"], options["private_ips"]
    if count is not None and count < 0:
        raise InvalidConfig(f"count {count} is no number of NICs: say 0 or more")
    if options["nics"] is not None:
        given = [name for name in ("count", "nic_name", "vxnet", "private_ips") if options[name] is not None]
        if given:
            raise InvalidConfig(f"{', '.join(given)} says which NICs, and so does nics: leave one of them out")
        if not options["nics"]:
            raise InvalidConfig("nics is empty: name NICs by their ids, or leave it out and say count")
    if ips and count not in (None, len(ips)):
        raise InvalidConfig(f"count {count} does not go with {len(ips)} private_ips: leave count out")
    if options["force"] and options["nics"] is None:
        raise InvalidConfig("force works on NICs that nics names by their ids only")


def find_place(options: Options, cloud: Cloud, host: Host) -> Place:
    """Raises `InvalidConfig` where an instance is needed and unknown, `Denied` where this machine's is not its."""
    given = options["instance"] or ""
    told, trouble = "", None
    try:
        told = config.instance_id(options["instance_id_path"])
    except InvalidConfig as error:
        trouble = error
    if not told or given not in ("", told):
        needed = options["state"] == ATTACHED or not (options["nics"] or options["nic_name"])
        if not given and needed and trouble:
            raise InvalidConfig(f"instance is not given, and this machine does not say which it is: {trouble.message}")
        return Place(given)
    primary = [nic.nic_id for nic in cloud.describe_nics(instance_id=told) if nic.role == 1]
    if primary and primary[0] in host.macs().values():
        return Place(told, True, agents.find(options["socket"]))
    if given:
        return Place(given)
    seen = f"its primary NIC {primary[0]} is no link of this machine" if primary else "the cloud shows no primary NIC"
    raise Denied(
        f"this machine says in {options['instance_id_path']} that it is {told}, but {seen}: write its own id there, or"
        " name another in instance"
    )


def wanted_of(options: Options, instance_id: str) -> Wanted:
    name = options["nic_name"] or (nic_names(instance_id, options["gatewayns"])[POOL] if instance_id else "")
    ips = tuple(dict.fromkeys(options["private_ips"] or ()))
    nic_ids = tuple(dict.fromkeys(nic_id.strip().lower() for nic_id in options["nics"] or ()))
    return Wanted(
        options["state"], name, instance_id if not nic_ids or options["state"] == ATTACHED else "", nic_ids,
        options["count"], options["vxnet"] or "", ips, options["force"],
    )  # fmt: skip


# -- where no agent is asked ------------------------------------------------------------------------------------------


def _through_the_cloud(
    options: Options,
    worker: Worker,
    check: bool,
    place: Place,
    wanted: Wanted,
    uses: t.Callable[[t.Sequence[CloudNic]], t.Mapping[str, Use]],
) -> dict[str, t.Any]:
    before = worker.look()
    used = uses(before)
    decided = plan(wanted, [Seen(nic, used[nic.nic_id]) for nic in before], options["gatewayns"])
    worker.check_room(decided)
    after = foresee(before, decided, wanted)
    made = worker.carry_out(decided) if decided.changes and not check else []
    if made and place.agent is not None:
        place.agent.ask("look")
    now = worker.look() if decided.changes and not check and options["wait"] else named(after, made)
    return {
        "changed": decided.changes,
        "instance": place.instance_id,
        "asked": "cloud",
        "actions": steps(decided, wanted),
        "left": list(decided.left),
        "nics": [facts(nic) for nic in now if wanted.reached(nic)],
        "diff": {"before": picture(before), "after": picture(after)},
    }


def _uses(nics: t.Sequence[CloudNic], host: Host, place: Place, gatewayns: str) -> dict[str, Use]:
    """A link on the host is in no pod. Of an agent's NICs only the agent can tell, and where it lived, none but it."""
    here = set(host.macs().values()) if place.here else set()
    taken = {host.macs().get(link) for link in host.default_route_links()} if place.here else set()
    asked = place.agent.pool() if place.agent is not None else {}
    uses = {}
    for nic in nics:
        pooled = bool(owner_of(nic.nic_name, gatewayns)) and (place.agent is not None or agents.has_lived_here())
        if not nic.attached:
            uses[nic.nic_id] = Use.IDLE
        elif nic.instance_id != place.instance_id or not place.here or nic.nic_id in taken:
            uses[nic.nic_id] = Use.UNKNOWN
        elif pooled:
            state = asked.get(nic.nic_id, {}).get("state", "")
            uses[nic.nic_id] = {"READY": Use.IDLE, "": Use.UNKNOWN}.get(state, Use.BUSY)
        else:
            uses[nic.nic_id] = Use.IDLE if nic.nic_id in here else Use.UNKNOWN
    return uses


# -- what is told -----------------------------------------------------------------------------------------------------


def steps(decided: Plan, wanted: Wanted) -> list[dict[str, t.Any]]:
    """The plan, as far as it can be told before it is carried out."""
    told: list[dict[str, t.Any]] = []
    if decided.create:
        told.append({"action": "create", "vxnet": wanted.vxnet_id, "count": decided.create, "name": wanted.name})
        if decided.private_ips:
            told[0]["private_ips"] = list(decided.private_ips)
    new = decided.create if decided.attach_new else 0
    if decided.attach or new:
        told.append({"action": "attach", "nics": [nic.nic_id for nic in decided.attach], "new": new})
    told += [
        {"action": action, "nics": [nic.nic_id for nic in nics]}
        for action, nics in (("detach", decided.detach), ("delete", decided.delete))
        if nics
    ]
    return told


def foresee(before: t.Sequence[CloudNic], decided: Plan, wanted: Wanted) -> list[CloudNic]:
    """The NICs after the plan; new ones have no id yet."""
    gone = {nic.nic_id for nic in decided.delete}
    freed = {nic.nic_id for nic in decided.detach}
    taken = {nic.nic_id for nic in decided.attach}
    after = []
    for nic in before:
        if nic.nic_id in taken:
            after.append(replace(nic, status="in-use", instance_id=wanted.instance_id))
        elif nic.nic_id in freed - gone:
            after.append(replace(nic, status="available", instance_id=""))
        elif nic.nic_id not in gone:
            after.append(nic)
    status, instance_id = ("in-use", wanted.instance_id) if decided.attach_new else ("available", "")
    for number in range(decided.create):
        ip = decided.private_ips[number] if decided.private_ips else ""
        after.append(CloudNic("", wanted.name, wanted.vxnet_id, ip, status, instance_id))
    return after


def named(after: t.Sequence[CloudNic], made: t.Sequence[str]) -> list[CloudNic]:
    """What was foreseen, with the ids that new NICs have got."""
    ids = iter(made)
    return [nic if nic.nic_id else replace(nic, nic_id=next(ids, "")) for nic in after]
