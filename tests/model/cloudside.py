# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated cloud of one run, over HTTP: it notes every call, and may answer DescribeNics with something untrue."""

from __future__ import annotations

import dataclasses
import json
import typing as t
from urllib.parse import parse_qsl

from tests.emulator import Settings, views, world
from tests.emulator import nics as nic_rules
from tests.emulator.api import Api
from tests.emulator.attachment import limit_of
from tests.emulator.cloud import Cloud
from tests.emulator.counters import Counters
from tests.emulator.dataplane.base import DataPlane
from tests.emulator.errors import ApiError
from tests.emulator.faults import FaultBook
from tests.emulator.http import Reply, Request
from tests.emulator.jobs import next_event, release
from tests.emulator.models import FAILED, IN_USE, Nic
from tests.emulator.power import restart
from tests.emulator.runner import JobRunner
from tests.model.listener import listener
from tests.model.times import CloudClock

ZONE: t.Final = "lab1"
NODE, OTHER, CLONE = "i-node0001", "i-node0002", "i-clone001"
KEYS: t.Final = {"QYNODEKEYEXAMPLE0001": "node", "QYCLONEKEYEXAMPLE001": "clone"}
SECRET: t.Final = "SECRETACCESSKEY"
HOSTS, WIDE, NARROW = "vxnet-nodes01", "vxnet-pods001", "vxnet-pods002"
WRITES: t.Final = ("CreateNics", "AttachNics", "DetachNics", "DeleteNics", "ModifyNicAttributes")
PATIENCE: t.Final = 10.0  # s in which a client wants its answer

_OWNER = "usr-test0001"
_WORLD: t.Final = {
    "zone": ZONE,
    "access_keys": [{"access_key_id": key, "secret_access_key": SECRET, "owner": _OWNER} for key in KEYS],
    "routers": [{"router_id": "rtr-test0001", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [
        {"vxnet_id": vxnet_id, "ip_network": network, "router_id": "rtr-test0001", "vxnet_type": 1}
        for vxnet_id, network in ((HOSTS, "172.16.0.0/24"), (WIDE, "172.16.1.0/25"), (NARROW, "172.16.2.0/28"))
    ],
    "instances": [
        {"instance_id": instance_id, "netns": netns, "primary": {"vxnet_id": HOSTS}}
        for instance_id, netns in ((NODE, "node1"), (OTHER, "node2"), (CLONE, "clone1"))
    ],
}


@dataclasses.dataclass
class Call:
    """A request; `who` is "node" or "clone"; `made`: the NICs that it has made."""

    who: str
    action: str
    params: t.Mapping[str, str]
    at: float
    made: tuple[str, ...] = ()
    untrue: bool = False

    def items(self, name: str) -> list[str]:
        """The values of name.1, name.2..."""
        return [value for key, value in self.params.items() if key.startswith(f"{name}.")]


@dataclasses.dataclass
class Lie:
    """So many of the next answers to the node's DescribeNics show no NIC ("empty"), or an old state ("stale")."""

    kind: str
    left: int
    total: int = 0
    rows: tuple[views.Item, ...] = ()


class CloudSide:
    """`arrives` is told of each call before it is carried out, `answered` of its answer, None where there is none."""

    def __init__(self, settings: Settings, clock: CloudClock, planes: DataPlane, seed: int) -> None:
        self.clock = clock
        self.cloud = Cloud(settings, clock, planes, seed)
        self.faults = FaultBook()
        self.runner = JobRunner(self.cloud)
        self.lies: list[Lie] = []
        self.uneven_lag = 0.0  # s after which the second half of what the next CreateNics makes is shown
        self.arrives: t.Callable[[Call], None] = lambda call: None
        self.answered: t.Callable[[Call, t.Optional[views.Item]], None] = lambda call, body: None
        self._api = Api(self.cloud, self.faults, Counters(), self.runner.poke)
        world.build(self.cloud, _WORLD)
        listener().answer = self._answer

    # -- reading --

    @property
    def nics(self) -> dict[str, Nic]:
        return self.cloud.nics

    def named(self, *names: str) -> list[Nic]:
        return [nic for nic in self.cloud.nics.values() if nic.nic_name in names]

    def idle(self, nic: Nic) -> bool:
        """No job is at work on it."""
        return not any(nic.nic_id in job.nic_ids for job in self.cloud.live_jobs())

    def attached_here(self) -> list[Nic]:
        return self.cloud.nics_of(NODE)

    def limit(self) -> int:
        return limit_of(self.cloud, self.cloud.instances[NODE])

    def left(self, vxnet_id: str) -> int:
        return self.cloud.addresses[vxnet_id].left(self.cloud.settings, self.clock.now())

    def next_event(self) -> float:
        """When a job goes on by itself."""
        event = next_event(self.cloud)
        return event[0] if event else float("inf")

    # -- doing, as a person at the console would: no job, no delay --

    def advance(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.runner.run_due()

    def change(self, **settings: t.Any) -> None:
        self.cloud.settings = self.cloud.settings.changed(settings)

    def detach(self, nic: Nic) -> None:
        self.cloud.dataplane.unplug([nic.nic_id])
        nic_rules.set_detached(nic, self.clock.now())

    def delete(self, nic: Nic) -> None:
        if nic.status == IN_USE:
            self.detach(nic)
        nic_rules.delete(self.cloud, [nic])

    def attach(self, nic: Nic, instance_id: str) -> None:
        nic_rules.set_attached(self.cloud, nic, instance_id, self.clock.now())
        port = self.cloud.port_of(nic)
        if port is not None:
            self.cloud.dataplane.plug([port])

    def make(self, vxnet_id: str, name: str, count: int = 1) -> list[Nic]:
        """None at all where the vxnet or a quota is full."""
        vxnet = self.cloud.vxnets[vxnet_id]
        try:
            return nic_rules.create(
                self.cloud, vxnet, name=name, count=count, private_ips=(), disable_ip=False, lag=0.0
            )  # fmt: skip
        except ApiError:
            return []

    def power_cycle(self) -> None:
        """Jobs on the instance fail."""
        for job in self.cloud.live_jobs():
            if NODE in job.instance_ids:
                job.status, job.status_time = FAILED, self.clock.now()
        with self.runner.exclusive:
            restart(self.cloud, NODE)

    def release_jobs(self) -> None:
        release(self.cloud)
        self.runner.poke()

    def lie(self, kind: str, count: int) -> None:
        rows = tuple(
            views.nic_item(self.cloud, nic) for nic in self.cloud.nics.values() if nic.visible_from <= self.clock.now()
        )
        self.lies.append(Lie(kind, count, rows=rows))

    # -- answering --

    def _answer(self, request: Request) -> t.Optional[Reply]:
        text = request.query if request.method == "GET" else request.body.decode("ascii")
        values = dict(parse_qsl(text, keep_blank_values=True))
        call = Call(KEYS.get(values.get("access_key_id", ""), ""), values.get("action", ""), values, self.clock.now())
        self.arrives(call)
        before = set(self.cloud.nics) if call.action == "CreateNics" else set()
        body = self._untrue(call)
        call.untrue = body is not None
        reply = self._api.answer(request) if body is None else Reply(json.dumps(body).encode())
        if call.action == "CreateNics":
            call.made = tuple(nic_id for nic_id in self.cloud.nics if nic_id not in before)
            self._show_unevenly(call.made)
        heard = reply is not None and reply.status == 200 and self.clock.now() - call.at <= PATIENCE
        self.answered(call, json.loads(reply.body) if reply and heard else None)
        return reply

    def _show_unevenly(self, made: t.Sequence[str]) -> None:
        if self.uneven_lag and made:
            for nic_id in made[len(made) // 2 :]:
                self.cloud.nics[nic_id].visible_from = self.clock.now() + self.uneven_lag
            self.uneven_lag = 0.0

    def _untrue(self, call: Call) -> t.Optional[views.Item]:
        if call.action != "DescribeNics" or call.who != "node" or not self.lies:
            return None
        lie = self.lies[0]
        lie.left -= 1
        if not lie.left:
            self.lies.pop(0)
        rows = [row for row in lie.rows if _asked_for(row, call)] if lie.kind == "stale" else []
        return {"action": "DescribeNicsResponse", "ret_code": 0, "nic_set": rows, "total_count": len(rows)}


def _asked_for(row: views.Item, call: Call) -> bool:
    wanted, instances, name = call.items("nics"), call.items("instances"), call.params.get("nic_name")
    return (
        (not wanted or row["nic_id"] in wanted)
        and (not instances or row["instance_id"] in instances)
        and (not name or row["nic_name"] == name)
    )
