# SPDX-License-Identifier: GPL-3.0-or-later
"""May this NIC be taken away? Asked of the journal, the cloud and the kernel, just before."""

from __future__ import annotations

import logging
import typing as t

from .errors import LinkFailed
from .model import CloudNic, Nic
from .parts import Parts

log = logging.getLogger("hostnic.witness")


def destroyable(parts: Parts, nics: t.Sequence[Nic]) -> dict[str, CloudNic]:
    """What the cloud says now of those NICs that may be taken away; the others are left alone, with a note.

    The journal has them (the caller's word), the cloud shows our name, our instance or none, and no primary, the kernel
    uses them neither for its default route nor as `iface`, and has their link in no pod. Raises what the cloud raises.
    """
    if not nics:
        return {}
    seen = {nic.nic_id: nic for nic in parts.cloud.describe_nics(nic_ids=[nic.nic_id for nic in nics])}
    links = {link.mac: link for link in parts.links.list()}
    hosts_own = {mac for mac, link in links.items() if link.place == "host" and link.name == parts.settings.iface}
    protected = hosts_own | {parts.links.default_route_link()}
    hidden = [mac for mac, cloud in seen.items() if cloud.attached and mac not in links]
    in_pods = _in_pods(parts, hidden)
    for nic in nics:
        cloud = seen.get(nic.nic_id)
        if cloud is None:
            continue
        ours = cloud.nic_name == parts.names[nic.purpose] and cloud.instance_id in ("", parts.instance_id)
        if not ours or cloud.role == 1 or nic.nic_id in protected or nic.nic_id in in_pods:
            del seen[nic.nic_id]
            where = "in a pod" if nic.nic_id in in_pods else f"of {cloud.instance_id or 'no instance'} in the cloud"
            parts.table.retry(nic, f"left alone: it is {cloud.nic_name!r} {where}")
    return seen


def _in_pods(parts: Parts, macs: t.Sequence[str]) -> t.Collection[str]:
    """Those whose links are in a pod; all of them where that cannot be told: unknown means leave alone."""
    if not macs:
        return ()
    try:
        return parts.links.in_netns(macs)
    except LinkFailed as error:
        log.warning("%s", error.message)
        return macs
