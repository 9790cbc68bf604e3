# SPDX-License-Identifier: GPL-3.0-or-later
"""A cloud and a kernel in memory, as much of them as a pool without gateways needs: ports `Cloud`, `Links`, `Guard`."""

from __future__ import annotations

import typing as t
from dataclasses import replace

from ..cloud.limiter import RateLimiter
from ..errors import LinkFailed
from ..model import CloudNic, Link, PodPlace, Vxnet
from .flow import Flow

INSTANCE: t.Final = "i-simulated"
VXNET: t.Final = "vxnet-simulated"
_PRIMARY: t.Final = CloudNic("52:54:00:ff:ff:ff", "", VXNET, "10.0.255.254", "in-use", INSTANCE, role=1)
_PAGE: t.Final = 100  # NICs in one answer


class World:
    """Each call takes `call_time` and its turn at `api_rate`, each job `job_time` seconds. Nothing ever fails.

    `on_link` is called when a link comes or goes; `calls` are the moments of all calls.
    """

    def __init__(self, flow: Flow, api_rate: float, job_time: float, call_time: float) -> None:
        self._flow = flow
        self._job_time = job_time
        self._call_time = call_time
        self._limiter = RateLimiter(api_rate, max(1, round(api_rate)), flow.clock, flow.sleep, rng=lambda: 0.5)
        self._nics: dict[str, CloudNic] = {_PRIMARY.nic_id: _PRIMARY}
        self._links: dict[str, Link] = {_PRIMARY.nic_id: Link(_PRIMARY.nic_id, "eth0", 2, "host")}
        self._jobs: dict[str, bool] = {}  # whether it is over
        self._made = 0
        self.calls: list[float] = []
        self.on_link: t.Callable[[], object] = lambda: None

    # -- the cloud -----------------------------------------------------------------------------------------------------

    def create_nics(self, vxnet_id: str, count: int, name: str, private_ips: t.Sequence[str] = ()) -> list[CloudNic]:
        self._call("CreateNics")
        made = []
        for __ in range(count):
            self._made += 1
            high, low = divmod(self._made, 250)
            mac = f"52:54:00:{self._made >> 16 & 255:02x}:{self._made >> 8 & 255:02x}:{self._made & 255:02x}"
            made.append(CloudNic(mac, name, vxnet_id, f"10.0.{high % 250}.{low + 2}", "available", ""))
        self._nics.update((nic.nic_id, nic) for nic in made)
        return made

    def attach_nics(self, nic_ids: t.Sequence[str], instance_id: str) -> str:
        def done() -> None:
            for nic_id in nic_ids:
                self._nics[nic_id] = replace(self._nics[nic_id], status="in-use", instance_id=instance_id)
                self._links[nic_id] = Link(nic_id, "eth1", 3, "host")

        return self._job("AttachNics", done)

    def detach_nics(self, nic_ids: t.Sequence[str]) -> str:
        def done() -> None:
            for nic_id in nic_ids:
                self._nics[nic_id] = replace(self._nics[nic_id], status="available", instance_id="")
                self._links.pop(nic_id, None)

        return self._job("DetachNics", done)

    def delete_nics(self, nic_ids: t.Sequence[str]) -> None:
        self._call("DeleteNics")
        for nic_id in nic_ids:
            self._nics.pop(nic_id, None)

    def describe_nics(
        self,
        nic_ids: t.Optional[t.Sequence[str]] = None,
        name: t.Optional[str] = None,
        instance_id: t.Optional[str] = None,
        vxnet_id: t.Optional[str] = None,
    ) -> list[CloudNic]:
        if nic_ids is not None and not nic_ids:
            return []
        for __ in range(0, len(nic_ids or ()) or 1, _PAGE):
            self._call("DescribeNics")
        among = self._nics.values() if nic_ids is None else [self._nics[one] for one in nic_ids if one in self._nics]
        return [
            nic
            for nic in among
            if name in (None, nic.nic_name)
            and instance_id in (None, nic.instance_id)
            and vxnet_id in (None, nic.vxnet_id)
        ]

    def describe_vxnets(self, vxnet_ids: t.Sequence[str]) -> list[Vxnet]:
        self._call("DescribeVxnets")
        return [Vxnet(VXNET, "10.0.0.0/16", "10.0.0.1", "rtr-simulated", 60000)] if VXNET in vxnet_ids else []

    def describe_jobs(self, job_ids: t.Sequence[str]) -> dict[str, str]:
        if job_ids:
            self._call("DescribeJobs")
        return {one: "successful" if self._jobs[one] else "working" for one in job_ids if one in self._jobs}

    def being_detached(self) -> frozenset[str]:
        self._call("DescribeJobs")
        return frozenset()

    def state(self) -> dict[str, t.Any]:
        return {"limiter": self._limiter.state()}

    def _call(self, action: str) -> None:
        self._limiter.acquire(action)
        self.calls.append(self._flow.clock())
        self._flow.sleep(self._call_time)
        self._limiter.succeeded(action)

    def _job(self, action: str, done: t.Callable[[], None]) -> str:
        self._call(action)
        job_id = f"j-{len(self._jobs)}"
        self._jobs[job_id] = False

        def over() -> None:
            done()
            self._jobs[job_id] = True
            self.on_link()

        self._flow.at(self._flow.clock() + self._job_time, over)
        return job_id

    # -- the kernel ----------------------------------------------------------------------------------------------------

    def list(self) -> list[Link]:
        return [link for link in self._links.values() if link.place != "pod"]

    def park(self, mac: str) -> Link:
        return self._move(mac, "parking")

    def to_pod(self, mac: str) -> None:
        self._move(mac, "pod")

    def retrieve(self, mac: str, netns_inode: int = 0, ifindex: int = 0) -> bool:
        self._move(mac, "parking")
        return True

    def in_netns(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        return {mac: PodPlace(1, "eth0", 3) for mac in macs if mac in self._links and self._links[mac].place == "pod"}

    def default_route_link(self) -> t.Optional[str]:
        return _PRIMARY.nic_id

    def address_of(self, name: str) -> str:
        return _PRIMARY.private_ip if name == "eth0" else ""

    def flush(self, address: str) -> None:
        """Nothing is tracked here."""

    def protect(self, macs: t.Iterable[str]) -> None:
        """There is no network manager here."""

    def _move(self, mac: str, place: str) -> Link:
        if mac not in self._links:
            raise LinkFailed(f"no link {mac} in the host's or the parking netns", missing=True)
        self._links[mac] = replace(self._links[mac], place=place)
        return self._links[mac]
