# SPDX-License-Identifier: GPL-3.0-or-later
"""A probe from the first question to the last NIC's end, whatever comes in between."""

from __future__ import annotations

import contextlib
import signal
import typing as t

from ...hostnic.cloud.qingcloud import QingCloud
from ...hostnic.errors import Denied, HostnicError, NotFound
from .estate import NICS, Clock, Estate, Sleep, find
from .measure import Findings, Probe

_SIGNALS: t.Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def cost(instance_id: str, vxnet_id: str) -> list[str]:
    """What a probe does and takes, in sentences."""
    return [
        f"{NICS} NICs with {NICS} addresses of {vxnet_id} are made, for about a minute.",
        f"Up to 3 of them are attached to {instance_id} and detached again; its other NICs are left alone.",
        "About 100 calls are sent, some of them meant to be refused.",
        "All of the NICs are deleted in the end, also where something fails.",
    ]


def check(cloud: QingCloud, instance_id: str, vxnet_id: str) -> None:
    """Raise what stands against a probe, before anything is made."""
    vxnets = cloud.describe_vxnets([vxnet_id])
    problem = (
        vxnets[0].problem() if vxnets else NotFound(f"vxnet {vxnet_id} is unknown: name one of this zone in vxnet")
    )
    if problem:
        raise problem
    if not any(nic.role == 1 for nic in cloud.describe_nics(instance_id=instance_id)):
        raise NotFound(f"the cloud shows no primary NIC of {instance_id}: name an instance of this zone in instance")
    if find(cloud, instance_id):
        raise Denied("NICs of an earlier probe are there: run qingcloud.cni.hostnic_probe with state=cleaned first")


def measure(cloud: QingCloud, instance_id: str, vxnet_id: str, clock: Clock, sleep: Sleep) -> Findings:
    """None of the NICs is left when this returns or raises, or the sentence says which. Raises what `check` raises."""
    check(cloud, instance_id, vxnet_id)
    estate = Estate(cloud, instance_id, vxnet_id, clock, sleep)
    try:
        with _on_signals(_stop):
            findings = Probe(cloud, instance_id, estate, clock, sleep).run()
    except BaseException as error:
        with _on_signals(signal.SIG_IGN):
            try:
                estate.clear()
            except HostnicError as leftovers:
                raise HostnicError(f"{error}; {leftovers.message}", **leftovers.details) from error
        raise
    with _on_signals(signal.SIG_IGN):
        estate.clear()
    return findings


def clean(cloud: QingCloud, instance_id: str, clock: Clock, sleep: Sleep, check_only: bool = False) -> list[str]:
    """What an earlier probe of this instance has left: ids of NICs that were removed, or would be."""
    found = sorted(find(cloud, instance_id))
    if check_only:
        return found
    estate = Estate(cloud, instance_id, "", clock, sleep)
    estate.doubt()
    return sorted({*found, *estate.clear()})


def _stop(number: int, frame: object) -> t.NoReturn:
    raise HostnicError(f"stopped by {signal.Signals(number).name}", ambiguous=True)


@contextlib.contextmanager
def _on_signals(handler: t.Any) -> t.Iterator[None]:
    before = {number: signal.signal(number, handler) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)
