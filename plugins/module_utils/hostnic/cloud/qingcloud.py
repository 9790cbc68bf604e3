# SPDX-License-Identifier: GPL-3.0-or-later
"""Port `Cloud` over the QingCloud API. What the server was asked to filter is filtered again here."""

from __future__ import annotations

import logging
import typing as t

from ..errors import HostnicError, NotFound, Unreachable
from ..model import CloudNic, Vxnet
from . import items
from .connection import Connection
from .replies import with_message
from .retry import Patience

log = logging.getLogger("hostnic.cloud")

PAGE: t.Final = 100  # rows; the most that the API gives at once
MOST_NICS: t.Final = 252  # of one CreateNics
BASE_NETWORK: t.Final = 2
# Above this many pages the server is not paging but repeating itself.
_MOST_PAGES = 1000

_T = t.TypeVar("_T")


class QingCloud:
    """See `ports.Cloud`. Reads are repeated as `patience` says, writes are sent once. Safe for several threads."""

    def __init__(self, connection: Connection, patience: t.Optional[Patience] = None) -> None:
        self._connection = connection
        self._patience = patience or Patience()

    # -- writes -------------------------------------------------------------------------------------------------------

    def create_nics(self, vxnet_id: str, count: int, name: str, private_ips: t.Sequence[str] = ()) -> list[CloudNic]:
        if not 1 <= count <= MOST_NICS or (private_ips and len(private_ips) != count):
            raise HostnicError(f"CreateNics makes 1 to {MOST_NICS} NICs, with an address for each or for none")
        params = {"vxnet": vxnet_id, "count": count, "nic_name": name, "private_ips": list(private_ips) or None}
        answer = self._connection.call("CreateNics", params)
        made = []
        for row in items.rows(answer, "nics"):
            nic_id = items.mac(items.text(row, "nic_id"))
            if nic_id:
                made.append(CloudNic(nic_id, name, vxnet_id, items.text(row, "private_ip"), "available", ""))
        if len(made) != count:
            raise _incomplete("CreateNics", f"names {len(made)} of {count} NICs")
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
            self._connection.call("DeleteNics", {"nics": _macs(nic_ids)})
            log.info("deleted %d NICs: %s", len(nic_ids), " ".join(nic_ids))

    def allow_foreign_sources(self, nic_id: str) -> None:
        params = {"nic": items.mac(_named("nic_id", nic_id)), "enable_aspoof": 0}
        self._connection.call("ModifyNicAttributes", params)

    def _job(self, action: str, params: dict[str, t.Any]) -> str:
        job_id = items.text(self._connection.call(action, params), "job_id")
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
    ) -> list[CloudNic]:
        if nic_ids is None and name is None and instance_id is None:
            raise HostnicError("DescribeNics without a filter is every NIC of the account: refused")
        params: dict[str, t.Any] = {}
        if name is not None:
            params["nic_name"] = _named("name", name)
        if instance_id is not None:
            params["instances"] = [_named("instance_id", instance_id)]
        wanted = None if nic_ids is None else _macs(nic_ids)
        if wanted is None:
            found = self._pages("DescribeNics", params, "nic_set", items.nic)
        else:
            found = self._by_ids("DescribeNics", "nics", wanted, params, "nic_set", items.nic)
        among = None if wanted is None else frozenset(wanted)
        unique = {
            nic.nic_id: nic
            for nic in found
            if (among is None or nic.nic_id in among)
            and (name is None or nic.nic_name == name)
            and (instance_id is None or nic.instance_id == instance_id)
        }
        return list(unique.values())

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        wanted = _distinct(vxnet_ids)
        found = self._vxnets(wanted, {})
        # Base networks (vxnet-0 and its like) are shown only to those who ask for their type.
        rest = [vxnet_id for vxnet_id in wanted if vxnet_id not in found]
        found.update(self._vxnets(rest, {"vxnet_type": BASE_NETWORK}))
        return [found[vxnet_id] for vxnet_id in wanted if vxnet_id in found]

    def describe_jobs(self, job_ids: t.Sequence[str]) -> dict[str, str]:
        wanted = _distinct(job_ids)

        def job(item: items.Item) -> t.Optional[tuple[str, str]]:
            return (items.text(item, "job_id"), items.text(item, "status")) if item.get("job_id") else None

        found = dict(self._by_ids("DescribeJobs", "jobs", wanted, {}, "job_set", job))
        return {job_id: found[job_id] for job_id in wanted if job_id in found}

    def describe_zones(self) -> dict[str, str]:
        def zone(item: items.Item) -> t.Optional[tuple[str, str]]:
            return (items.text(item, "zone_id"), items.text(item, "status")) if item.get("zone_id") else None

        return dict(self._pages("DescribeZones", {}, "zone_set", zone))

    def _vxnets(self, vxnet_ids: list[str], params: t.Mapping[str, t.Any]) -> dict[str, Vxnet]:
        found = self._by_ids("DescribeVxnets", "vxnets", vxnet_ids, params, "vxnet_set", items.vxnet)
        return {vxnet.vxnet_id: vxnet for vxnet in found if vxnet.vxnet_id in vxnet_ids}

    def _by_ids(
        self,
        action: str,
        id_list: str,
        ids: list[str],
        params: t.Mapping[str, t.Any],
        row_list: str,
        parse: t.Callable[[items.Item], t.Optional[_T]],
    ) -> list[_T]:
        """Rows of these ids. Some actions refuse the whole list for one unknown id: then it is found by halving."""
        found: list[_T] = []
        chunks = [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]
        while chunks:
            chunk = chunks.pop(0)
            try:
                found += self._pages(action, {**params, id_list: chunk}, row_list, parse)
            except NotFound:
                half = len(chunk) // 2
                chunks = [part for part in (chunk[:half], chunk[half:]) if part and len(chunk) > 1] + chunks
        return found

    def _pages(
        self,
        action: str,
        params: t.Mapping[str, t.Any],
        row_list: str,
        parse: t.Callable[[items.Item], t.Optional[_T]],
    ) -> list[_T]:
        """Every row, in pages: no `limit` would mean 20 rows, and one of more than 100 is silently cut."""
        found: list[_T] = []
        offset = 0
        for _ in range(_MOST_PAGES):
            page = {**params, "offset": offset, "limit": PAGE}

            def ask(page: dict[str, t.Any] = page) -> dict[str, t.Any]:
                return self._connection.call(action, page)

            answer = self._patience.read(action, ask)
            rows = items.rows(answer, row_list)
            found += [parsed for parsed in map(parse, rows) if parsed is not None]
            offset += len(rows)
            total = items.number(answer, "total_count")
            if not rows or (total is not None and offset >= total):
                return found
        error = Unreachable(f"{action} gives page after page and never ends", action=action, ret_code=0)
        raise with_message(error, "")


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
