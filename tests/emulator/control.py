# SPDX-License-Identifier: GPL-3.0-or-later
"""The control API: what a test may ask that a cloud's customer may not."""

from __future__ import annotations

import dataclasses
import json
import typing as t

from tests.emulator import jobs, power, world
from tests.emulator.clock import ManualClock
from tests.emulator.cloud import Cloud
from tests.emulator.counters import Counters
from tests.emulator.errors import EmulatorError
from tests.emulator.faults import FaultBook
from tests.emulator.http import Reply, Request
from tests.emulator.runner import JobRunner

PREFIX = "/control/"
_Body = t.Mapping[str, t.Any]
_Route = t.Callable[[t.Sequence[str], _Body], t.Any]

_ADD: t.Final[t.Mapping[str, t.Callable[[Cloud, t.Any], str]]] = {
    "access_keys": world.add_access_key,
    "instances": world.add_instance,
    "routers": world.add_router,
    "tags": world.add_tag,
    "vxnets": world.add_vxnet,
}


class Control:
    """JSON in, JSON out; 400 with ``{"error": text}`` for what cannot be, 404 for what is not."""

    def __init__(self, cloud: Cloud, faults: FaultBook, counters: Counters, runner: JobRunner) -> None:
        self._cloud = cloud
        self._faults = faults
        self._counters = counters
        self._runner = runner
        self._routes: dict[tuple[str, str], _Route] = {
            ("GET", "state"): lambda rest, body: self.state(),
            ("GET", "counters"): lambda rest, body: self.counters(),
            ("DELETE", "counters"): lambda rest, body: self.reset_counters(),
            ("GET", "faults"): lambda rest, body: self._faults.to_list(),
            ("POST", "faults"): lambda rest, body: dataclasses.asdict(self._faults.order(body)),
            ("DELETE", "faults"): lambda rest, body: {"cleared": self._faults.clear(_id(rest))},
            ("GET", "settings"): lambda rest, body: self._cloud.settings.to_dict(),
            ("POST", "settings"): lambda rest, body: self.change_settings(body),
            ("POST", "quiesce"): lambda rest, body: self._quiesce(body),
            ("POST", "clock"): lambda rest, body: {"now": self.advance(float(body.get("seconds", 0)))},
            ("POST", "roles"): lambda rest, body: self._set_role(body),
            ("POST", "release-jobs"): lambda rest, body: {"released": self.release_jobs()},
            ("GET", "instances"): lambda rest, body: self.state()["instances"],
            ("GET", "nics"): lambda rest, body: self.state()["nics"],
            ("GET", "jobs"): lambda rest, body: self.state()["jobs"],
            ("POST", "instances"): self._instances,
            ("POST", "access_keys"): lambda rest, body: self._add("access_keys", body),
            ("DELETE", "access_keys"): lambda rest, body: self._revoke(rest[0] if rest else ""),
            ("POST", "routers"): lambda rest, body: self._add("routers", body),
            ("POST", "tags"): lambda rest, body: self._add("tags", body),
            ("POST", "vxnets"): lambda rest, body: self._add("vxnets", body),
        }

    def answer(self, request: Request) -> Reply:
        noun, *rest = request.path[len(PREFIX) :].strip("/").split("/")
        route = self._routes.get((request.method, noun))
        if not request.path.startswith(PREFIX) or route is None:
            return _reply({"error": f"no {request.method} {request.path}"}, 404)
        try:
            body = json.loads(request.body) if request.body else {}
            if not isinstance(body, dict):
                raise EmulatorError("the body is not an object")
            return _reply(route(rest, body), 200)
        except (EmulatorError, ValueError, TypeError) as error:
            return _reply({"error": str(error)}, 400)

    def state(self) -> dict[str, t.Any]:
        with self._cloud.lock:
            cloud = self._cloud
            put_back, dark = cloud.dataplane.links_put_back(), cloud.dataplane.dark()
            nics = [
                {
                    **dataclasses.asdict(nic),
                    "links_put_back": put_back.get(nic.nic_id, 0),
                    "dark": nic.nic_id in dark,
                }
                for nic in cloud.nics.values()
            ]
            return {
                "now": cloud.clock.now(),
                "zones": [dataclasses.asdict(zone) for zone in cloud.zones.values()],
                "routers": [dataclasses.asdict(router) for router in cloud.routers.values()],
                "vxnets": [dataclasses.asdict(vxnet) for vxnet in cloud.vxnets.values()],
                "instances": [dataclasses.asdict(one) for one in cloud.instances.values()],
                "nics": nics,
                "tags": [{**dataclasses.asdict(tag), "pairs": sorted(tag.pairs)} for tag in cloud.tags.values()],
                "jobs": [_job(dataclasses.asdict(job)) for job in cloud.jobs.values()],
                "counters": self.counters(),
                "faults": self._faults.to_list(),
                "settings": cloud.settings.to_dict(),
            }

    def counters(self) -> dict[str, t.Any]:
        by_nic = self._cloud.dataplane.links_put_back()
        return {
            **self._counters.to_dict(),
            "links_put_back": sum(by_nic.values()),
            "links_put_back_by_nic": by_nic,
        }

    def reset_counters(self) -> dict[str, t.Any]:
        self._counters.reset()
        self._cloud.dataplane.reset_counters()
        return self.counters()

    def change_settings(self, changes: _Body) -> dict[str, t.Any]:
        with self._cloud.lock:
            self._cloud.settings = self._cloud.settings.changed(changes)
            mode = self._cloud.settings.port_security
        self._cloud.dataplane.set_port_security(mode)
        self._runner.poke()
        return self._cloud.settings.to_dict()

    def advance(self, seconds: float) -> float:
        """Only a manual clock can be advanced; what became due has run on return."""
        clock = self._cloud.clock
        if not isinstance(clock, ManualClock):
            raise EmulatorError("the clock is not a manual one")
        clock.advance(seconds)
        self._runner.run_due()
        return clock.now()

    def release_jobs(self) -> list[str]:
        released = jobs.release(self._cloud)
        self._runner.poke()
        return released

    def power(self, instance_id: str, verb: str) -> dict[str, t.Any]:
        if verb not in power.ACTIONS:
            raise EmulatorError(f"an instance can {', '.join(power.ACTIONS)}, not {verb}")
        with self._runner.exclusive:
            power.ACTIONS[verb](self._cloud, instance_id)
        with self._cloud.lock:
            status = self._cloud.instances[instance_id].status
            mine = {nic.nic_id for nic in self._cloud.nics_of(instance_id)}
        dark = sorted(mine & self._cloud.dataplane.dark())
        return {"instance_id": instance_id, "status": status, "dark_nics": dark}

    def _instances(self, rest: t.Sequence[str], body: _Body) -> t.Any:
        if len(rest) == 2:
            return self.power(rest[0], rest[1])
        return self._add("instances", body)

    def _add(self, kind: str, body: _Body) -> dict[str, str]:
        return {"added": _ADD[kind](self._cloud, body)}

    def _revoke(self, access_key_id: str) -> dict[str, str]:
        with self._cloud.lock:
            if self._cloud.access_keys.pop(access_key_id, None) is None:
                raise EmulatorError(f"there is no access key {access_key_id!r}")
        return {"revoked": access_key_id}

    def _set_role(self, body: _Body) -> dict[str, t.Any]:
        lifetime = float(body.get("lifetime", 3600))
        self._cloud.set_role(str(body.get("instance_id")), str(body.get("role") or ""), lifetime)
        return {"instance_id": body.get("instance_id"), "role": body.get("role")}

    def _quiesce(self, body: _Body) -> dict[str, t.Any]:
        quiet = self._runner.await_quiet(float(body.get("timeout", 30)))
        with self._cloud.lock:
            return {"quiet": quiet, "live_jobs": [job.job_id for job in self._cloud.live_jobs()]}


def _job(item: dict[str, t.Any]) -> dict[str, t.Any]:
    """JSON has no infinity: a stuck job's end is null."""
    return {**item, "ends": None if item["stuck"] else item["ends"]}


def _id(rest: t.Sequence[str]) -> int | None:
    return int(rest[0]) if rest and rest[0] else None


def _reply(content: t.Any, status: int) -> Reply:
    return Reply(json.dumps(content).encode(), status)
