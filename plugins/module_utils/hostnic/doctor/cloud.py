# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of the cloud: does it answer, what may this key do, and is there room for more NICs. Only reads."""

from __future__ import annotations

import contextlib
import typing as t

from .. import probed, proof
from ..cloud.codes import EXPIRED
from ..cloud.connection import CLOCK_TOLERANCE
from ..cloud.credentials import read_access
from ..configuration.load import INSTANCE_ID_PATH
from ..errors import AuthFailed, Busy, Denied, HostnicError, InvalidConfig, RateLimited, Timeout, Unreachable
from ..model import GATEWAY_LINKS
from . import units
from .finding import CannotTell, Seen, error, unchecked, warning, with_command
from .patient import CONFIGURATION, Patient

REFUSED_AT: t.Final = 60.0  # s that a clock may be off until the API refuses
WRITES: t.Final = ("CreateNics", "AttachNics", "DetachNics", "DeleteNics", "ModifyNicAttributes")
PATIENCE: t.Final = 600.0  # s that an agent may take until it takes a NIC in: two lead times, and a look each 2 min
NO_ANSWER: t.Final = error(
    "the API gave no answer in time",
    "from this node, try the host and port of the access file; look at DNS, routes, firewall and any proxy",
)


def access_file(patient: Patient) -> t.Iterator[Seen]:
    path = patient.settings.access_file
    try:
        read_access(str(patient.reader.at(path)))
    except InvalidConfig as wrong:
        yield with_command(error, wrong, f"put {path} right; the agent reads it again by itself")


def api(patient: Patient) -> t.Iterator[Seen]:
    try:
        patient.attached()
    except RateLimited as slowly:
        yield warning(slowly.message, "lower api-rate (qingagent_account_rate shares the account's among all nodes)")
    except (Unreachable, Timeout) as away:
        yield error(away.message, NO_ANSWER.remedy)
    except Busy as busy:
        yield warning(busy.message, "wait: the agent tries again by itself")


def clock(patient: Patient) -> t.Iterator[Seen]:
    with contextlib.suppress(HostnicError):
        patient.attached()
    ahead = patient.cloud().state()["clock_ahead"]
    if ahead is None:
        raise CannotTell("no answer of the API has told its time")
    if abs(ahead) >= CLOCK_TOLERANCE:
        what = f"this machine's clock is {abs(ahead):.0f} s {'ahead of' if ahead > 0 else 'behind'} the API's"
        say = error if abs(ahead) >= REFUSED_AT else warning
        yield say(f"{what}; from {REFUSED_AT:.0f} s on every call is refused", "timedatectl set-ntp true")


def access_key(patient: Patient) -> t.Iterator[Seen]:
    try:
        patient.attached()
    except AuthFailed as refused:
        if refused.details.get("ret_code") == EXPIRED:
            raise CannotTell("the clock is off") from refused
        yield error(refused.message, f"put the right key into {patient.settings.access_file}; the agent reads it anew")


def rights(patient: Patient) -> t.Iterator[Seen]:
    """Reading is tried. What changes something is not: the agent knows what it was refused."""
    looks: tuple[t.Callable[[], object], ...] = (patient.attached, patient.vxnets, patient.detaching)
    for look in looks:
        try:
            look()
        except Denied as denied:
            action = denied.details.get("action") or "a call"
            yield error(denied.message, f"give the owner of the access key the right to {action}")
    try:
        told = patient.answer("explain")
    except HostnicError as away:
        yield unchecked(f"whether this key may {', '.join(WRITES)}: {away.message}")
        return
    trouble = told["trouble"] or {}
    if trouble.get("kind") == Denied.__name__ and trouble.get("action") in WRITES:
        remedy = f"give the owner of the access key the right to {trouble['action']}"
        yield error(f"the agent was refused: {trouble['message']}", remedy)
    used = told["cloud"]["limiter"]["actions"]
    unused = [action for action in WRITES if not used.get(action, {}).get("calls")]
    if unused:
        yield unchecked(f"whether this key may {', '.join(unused)} shows when the agent needs it for the first time")


def instance(patient: Patient) -> t.Iterator[Seen]:
    try:
        instance_id = patient.instance_id()
    except InvalidConfig as wrong:
        yield error(wrong.message, f"write this instance's id, as the console shows it, into {INSTANCE_ID_PATH}")
        return
    attached = patient.attached()
    doubt = proof.doubt(instance_id, attached, patient.reader.host.macs().values())
    if doubt and proof.primary_of(attached) is None:
        what = f"{doubt}, so the zone, the account or the id is another one"
        yield error(what, f"compare {INSTANCE_ID_PATH}, the setting zone and the access key with the console")
    elif doubt:
        remedy = f"write this machine's own id into {INSTANCE_ID_PATH}"
        yield error(f"{doubt}, so the agent changes nothing in the cloud", remedy)


def vxnets(patient: Patient) -> t.Iterator[Seen]:
    found = patient.vxnets()
    for vxnet_id in patient.settings.vxnet:
        vxnet = found.get(vxnet_id)
        if vxnet is None:
            what = f"vxnet {vxnet_id} is unknown in zone {patient.settings.zone}, or another account's"
            yield error(what, "take it out of the setting vxnet (qingagent_vxnet of the role), or put the id right")
        else:
            problem = vxnet.problem()
            if isinstance(problem, InvalidConfig):
                yield error(f"{problem.what}, so that NICs in it get no address", problem.remedy)


def addresses(patient: Patient) -> t.Iterator[Seen]:
    """Of those that are joined; the others are told of already."""
    found = patient.vxnets().values()
    problems = {vxnet.vxnet_id: vxnet.problem() for vxnet in found}
    joined = [vxnet for vxnet in found if not isinstance(problems[vxnet.vxnet_id], InvalidConfig)]
    wanted = max(patient.settings.pool_high, patient.settings.attach_chunk)
    say = error if all(problems[vxnet.vxnet_id] for vxnet in joined) else warning
    for vxnet in joined:
        problem = problems[vxnet.vxnet_id]
        if problem:
            yield say(problem.what, problem.remedy)
        elif vxnet.available is None:
            yield unchecked(f"the API does not say how many addresses of {vxnet.vxnet_id} are free")
        elif vxnet.available < wanted:
            what = f"vxnet {vxnet.vxnet_id} ({vxnet.network}) has {vxnet.available} free addresses left"
            remedy = "name one more vxnet in the setting vxnet (qingagent_vxnet of the role), or delete unused NICs"
            yield warning(f"{what}, and one node alone may ask for {wanted} at once", remedy)


def nic_limit(patient: Patient) -> t.Iterator[Seen]:
    most = patient.settings.max_nics
    lower = f"set max-nics (qingagent_max_nics of the role) to {{}}, then systemctl restart {units.AGENT}"
    try:
        told = patient.answer("explain")
    except CannotTell:
        limit = probed.read(patient.reader.at(f"{CONFIGURATION}/probe.json")).nic_limit
        if len(patient.attached()) >= limit:
            yield error(f"the instance has {limit} NICs, which are all that it takes", "qingagent drain, or end pods")
        return
    trouble = told["trouble"] or {}
    if trouble.get("kind") == "QuotaExceeded":
        yield error(f"the agent was refused: {trouble['message']}", "ask QingCloud for a higher quota, or end pods")
    elif told["used"] + told["held"] + told["broken"] >= told["cap"]:
        what = f"all {told['cap']} NICs that this node may have are taken"
        yield error(f"{what}: no further pod starts", "end pods, qingagent release a kept address, or raise max-nics")
    elif told["cap"] < most:
        what = (
            f"max-nics is {most}, and this instance has room for {told['cap']}: {told['limit']} NICs in all, of which"
        )
        yield warning(f"{what} {told['limit'] - told['cap']} are not for pods", lower.format(told["cap"]))


def port_security(patient: Patient) -> t.Iterator[Seen]:
    """What the source check of NICs is cannot be read from the API."""
    gateways = patient.gateways()
    for link in [link for link in gateways if not link.startswith(GATEWAY_LINKS)]:
        yield unchecked(f"{link} is pods' gateway: whether its source check is off is not shown by the API")
    if any(link.startswith(GATEWAY_LINKS) for link in gateways):
        yield unchecked("the API does not show the source check of gateway NICs; the agent switches it off for its own")


def leaks(patient: Patient) -> t.Iterator[Seen]:
    """NICs of our name that neither agent nor journal knows, though there was time enough to take them in."""
    known, here, now = patient.nics().keys(), patient.instance_id(), patient.wall()
    lost = [
        nic
        for nic in patient.named()
        if nic.nic_id not in known and nic.role != 1 and now - max(nic.created, nic.changed) > PATIENCE
    ]
    near = sorted(nic.nic_id for nic in lost if nic.instance_id in ("", here))
    if near:
        what = f"{len(near)} NICs have this node's name and nobody here knows them: {', '.join(near[:5])}"
        yield warning(f"{what}; they take addresses and cost money", "qingagent look")
    for nic in lost:
        if nic.nic_id not in near:
            what = f"NIC {nic.nic_id} has this node's name and is attached to {nic.instance_id}"
            yield warning(what, "detach it there, in the console; the agent here takes it in then, or gives it back")
