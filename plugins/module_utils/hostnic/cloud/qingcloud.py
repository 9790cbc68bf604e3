# SPDX-License-Identifier: GPL-3.0-or-later
"""Port `Cloud` over the QingCloud API. What the server was asked to filter is filtered again here."""

from __future__ import annotations

import logging
import typing as t
from dataclasses import replace

from ..errors import HostnicError, Unreachable
from ..model import CloudNic, Instance, Vxnet
from . import items
from .connection import Calls
from .paging import Pager, Query, Row
from .replies import with_message
from .retry import Patience

log = logging.getLogger("hostnic.cloud")

MOST_NICS: t.Final = 252  # of one CreateNics
BASE_NETWORK: t.Final = 2


def _nic(item: items.Item) -> Row[CloudNic]:
    nic = items.nic(item)
    return (nic.nic_id, nic) if nic else None


def _vxnet(item: items.Item) -> Row[Vxnet]:
    vxnet = items.vxnet(item)
    return (vxnet.vxnet_id, vxnet) if vxnet else None


def _instance(item: items.Item) -> Row[Instance]:
    instance = items.instance(item)
    return (instance.instance_id, instance) if instance else None


def _status(id_name: str) -> t.Callable[[items.Item], Row[str]]:
    def parse(item: items.Item) -> Row[str]:
        found = items.text(item, id_name)
        return (found, items.text(item, "status")) if found else None

    return parse


def _detached(item: items.Item) -> Row[list[str]]:
    """`resource_ids` is one text, ids with blanks in between."""
    job_id, action = items.text(item, "job_id"), items.text(item, "job_action")
    ids = items.text(item, "resource_ids").split() if action == "DetachNics" else []  # instances among them
    return (job_id, [items.mac(one) for one in ids if ":" in one]) if job_id else None


_NICS: t.Final = Query("DescribeNics", "nic_set", _nic, nothing={"nic_name": "qingcni-no-such-nic"})
_VXNETS: t.Final = Query("DescribeVxnets", "vxnet_set", _vxnet, nothing={"vxnets": ["vxnet-nosuch00"]})
_INSTANCES: t.Final = Query(
    "DescribeInstances", "instance_set", _instance, nothing={"search_word": "qingcni-no-such-instance"}
)
_JOBS: t.Final = Query("DescribeJobs", "job_set", _status("job_id"), nothing={"jobs": ["j-nosuch00"]})
_DETACHES: t.Final = Query("DescribeJobs", "job_set", _detached, {"status": ["pending", "working"]}, counted=False)
_ZONES: t.Final = Query("DescribeZones", "zone_set", _status("zone_id"))


class QingCloud:
    """See `ports.Cloud`. Reads are repeated as `patience` says, writes are sent once. Safe for several threads."""

    def __init__(self, connection: Calls, patience: t.Optional[Patience] = None) -> None:
        self._connection = connection
        self._patience = patience or Patience()
        self._pager = Pager(connection, self._patience)

    def state(self) -> dict[str, t.Any]:
        """What holds calls back, JSON-ready: `limiter` as of `RateLimiter.state`, `breaker` as of `Breaker.state`."""
        return self._connection.state()

    def reread_access(self) -> bool:
        """Look at the access file now; whether it has changed. Raises `InvalidConfig`, and nothing has changed then."""
        return self._connection.reread()

    def call(self, action: str, params: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
        """The answer of one call as it is, sent once: for what is to be measured rather than used."""
        return self._connection.call(action, params, self._patience.within)

    # -- writes -------------------------------------------------------------------------------------------------------

    def create_nics(self, vxnet_id: str, count: int, name: str, private_ips: t.Sequence[str] = ()) -> list[CloudNic]:
        if not 1 <= count <= MOST_NICS or (private_ips and len(private_ips) != count):
            raise HostnicError(f"CreateNics makes 1 to {MOST_NICS} NICs, with an address for each or for none")
        params = {"vxnet": vxnet_id, "count": count, "nic_name": name, "private_ips": list(private_ips) or None}
        answer = self.call("CreateNics", params)
        made = []
        for row in items.rows(answer, "nics"):
            nic_id = items.mac(items.text(row, "nic_id"))
            if nic_id:
                made.append(CloudNic(nic_id, name, vxnet_id, items.text(row, "private_ip"), "available", ""))
        if len(made) != count:
            raise _incomplete("CreateNics", f"names {len(made)} of {count} NICs")
        others = {nic.private_ip for nic in made if nic.private_ip}.difference(private_ips) if private_ips else set()
        if others:
            raise _incomplete("CreateNics", f"names addresses that were not asked for: {', '.join(sorted(others))}")
        log.info("created %d NICs in %s: %s", count, vxnet_id, " ".join(nic.nic_id for nic in made))
        return made

    def attach_nics(self, nic_ids: t.Sequence[str], instance_id: str) -> str:
        if not nic_ids:
            return ""
        return self._job("AttachNics", {"nics": _macs(nic_ids), "instance": _named("instance", instance_id)})

    def detach_nics(self, nic_ids: t.Sequence[str]) -> str:
        return self._job("DetachNics", {"nics": _macs(nic_ids)}) if nic_ids else ""

    def delete_nics(self, nic_ids: t.Sequence[str]) -> None:
        if nic_ids:
            self.call("DeleteNics", {"nics": _macs(nic_ids)})
            log.info("deleted %d NICs: %s", len(nic_ids), " ".join(nic_ids))

    def allow_foreign_sources(self, nic_id: str) -> None:
        params = {"nic": items.mac(_named("nic_id", nic_id)), "enable_aspoof": 0}
        self.call("ModifyNicAttributes", params)

    def _job(self, action: str, params: dict[str, t.Any]) -> str:
        job_id = items.text(self.call(action, params), "job_id")
        if not job_id:
            raise _incomplete(action, "names no job")
        log.info("%s of %s: job %s", action, " ".join(params["nics"]), job_id)
        return job_id

    # -- reads --------------------------------------------------------------------------------------------------------

    def describe_nics(
        self,
        nic_ids: t.Optional[t.Sequence[str]] = None,
        name: t.Optional[str] = None,
        instance_id: t.Optional[str] = None,
        vxnet_id: t.Optional[str] = None,
    ) -> list[CloudNic]:
        if nic_ids is None and name is None and instance_id is None and vxnet_id is None:
            raise HostnicError("DescribeNics without a filter is every NIC of the account: refused")
        params: dict[str, t.Any] = {}
        if name is not None:
            params["nic_name"] = _named("name", name)
        if instance_id is not None:
            params["instances"] = [_named("instance_id", instance_id)]
        if vxnet_id is not None:
            params["vxnets"] = [_named("vxnet_id", vxnet_id)]
        wanted = None if nic_ids is None else _macs(nic_ids)
        query = replace(_NICS, params=params)
        found = self._pager.all(query) if wanted is None else self._pager.by_ids(query, "nics", wanted)
        among = None if wanted is None else frozenset(wanted)
        return [
            nic
            for nic in found.values()
            if (among is None or nic.nic_id in among)
            and (name is None or nic.nic_name == name)
            and (instance_id is None or nic.instance_id == instance_id)
            and (vxnet_id is None or nic.vxnet_id == vxnet_id)
        ]

    def all_nics(self) -> list[CloudNic]:
        return list(self._pager.all(_NICS).values())

    def all_vxnets(self) -> list[Vxnet]:
        return list(self._pager.all(_VXNETS).values())

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        wanted = _distinct(vxnet_ids)
        found = self._pager.by_ids(_VXNETS, "vxnets", wanted)
        # Base networks (vxnet-0 and its like) are shown only to those who ask for their type.
        rest = [vxnet_id for vxnet_id in wanted if vxnet_id not in found]
        found.update(self._pager.by_ids(replace(_VXNETS, params={"vxnet_type": BASE_NETWORK}), "vxnets", rest))
        return [found[vxnet_id] for vxnet_id in wanted if vxnet_id in found]

    def describe_jobs(self, job_ids: t.Sequence[str]) -> dict[str, str]:
        wanted = _distinct(job_ids)
        found = self._pager.by_ids(_JOBS, "jobs", wanted)
        return {job_id: found[job_id] for job_id in wanted if job_id in found}

    def being_detached(self) -> frozenset[str]:
        return frozenset(nic_id for ids in self._pager.all(_DETACHES).values() for nic_id in ids)

    def describe_zones(self) -> dict[str, str]:
        return self._pager.all(_ZONES)

    def describe_instances(self, instance_ids: t.Optional[t.Sequence[str]] = None) -> list[Instance]:
        if instance_ids is None:
            return list(self._pager.all(_INSTANCES).values())
        wanted = _distinct(instance_ids)
        found = self._pager.by_ids(_INSTANCES, "instances", wanted)
        return [found[instance_id] for instance_id in wanted if instance_id in found]


def _macs(nic_ids: t.Iterable[str]) -> list[str]:
    return _distinct(items.mac(nic_id) for nic_id in nic_ids)


def _distinct(ids: t.Iterable[str]) -> list[str]:
    """Without repetitions and empty ones, in their order."""
    return [one for one in dict.fromkeys(ids) if one]


def _named(what: str, value: str) -> str:
    """An empty filter or target would be none at all."""
    if not value:
        raise HostnicError(f"the cloud was about to be asked with an empty {what}")
    return value


def _incomplete(action: str, what: str) -> HostnicError:
    said = f"QingCloud carried out {action}, but its answer {what}"
    return with_message(Unreachable(said, ambiguous=True, action=action, ret_code=0), "")
