# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs of a running agent's pool: asked for and given back by the agent alone."""

from __future__ import annotations

import time
import typing as t

from ..hostnic.errors import Denied, Timeout
from ..hostnic.model import POOL, nic_names
from ..hostnic.nics import ABSENT, DETACHED, Wanted
from .agent import Agent

FREE: t.Final = ("READY", "QUARANTINE")  # what a pod may get now, or after its rest
COMING: t.Final = ("DETACHED", "ATTACHING")
POLL: t.Final = 1.0  # s

Record = t.Mapping[str, t.Any]


class Pooled:
    """One run. `timeout`: seconds until what was ordered is there."""

    def __init__(
        self,
        agent: Agent,
        wanted: Wanted,
        wait: bool = True,
        timeout: float = 300.0,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], object] = time.sleep,
    ) -> None:
        self._agent = agent
        self._wanted = wanted
        self._wait = wait
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._table = agent.pool()

    def concerned(self) -> t.Optional[list[str]]:
        """Ids of the pool's NICs that are to go, [] where it is about the pool's size; None: not the agent's business.

        Raises `Denied` for what an agent would undo.
        """
        wanted = self._wanted
        ours = [nic_id for nic_id in wanted.nic_ids if nic_id in self._table]
        of_the_pool = bool(ours) if wanted.nic_ids else wanted.name == nic_names(wanted.instance_id, "")[POOL]
        if not of_the_pool:
            return None
        if wanted.state == DETACHED:
            raise Denied(
                "state=detached is refused: the agent of this node would attach its pool's NICs again, so use"
                " qingcloud.cni.hostnic_pool, or state=absent"
            )
        if wanted.nic_ids:
            return self._given_back(ours) if wanted.state == ABSENT else None
        if wanted.state == ABSENT:
            return self._idle()
        return None if wanted.private_ips else []

    def carry_out(self, nic_ids: t.Sequence[str], check: bool) -> dict[str, t.Any]:
        """The module's result."""
        return self._give_back(nic_ids, check) if self._wanted.state == ABSENT else self._warm(check)

    def _given_back(self, ours: list[str]) -> list[str]:
        others = [nic_id for nic_id in self._wanted.nic_ids if nic_id not in self._table]
        if others:
            raise Denied(
                f"nics: {', '.join(others)} is not of this node's pool, the others are: name them in two calls"
            )
        return ours

    def _idle(self) -> list[str]:
        """Pre-warmed ones, newest first, as many as are wanted: others the agent would replace."""
        ready = [nic for nic in self._pool() if nic["state"] == "READY" and nic["prewarmed"]]
        return [nic["nic_id"] for nic in sorted(ready, key=lambda nic: -nic["since"])][: self._wanted.count]

    def _pool(self, states: t.Container[str] = (*FREE, *COMING)) -> list[Record]:
        wanted = self._wanted
        return [
            nic
            for nic in self._table.values()
            if nic["purpose"] == POOL
            and nic["state"] in states
            and not nic["doomed"]
            and wanted.vxnet_id in ("", nic["vxnet_id"])
            and (not wanted.private_ips or nic["private_ip"] in wanted.private_ips)
        ]

    def _warm(self, check: bool) -> dict[str, t.Any]:
        wanted = self._wanted
        count = 1 if wanted.count is None else wanted.count
        before = self._pool()
        answer = self._agent.ask("warm", size=count, vxnet=wanted.vxnet_id, check=check)
        missing = int(answer["missing"])
        if missing and not check and self._wait:
            self._until(lambda: len(self._pool(FREE)) >= count, f"{count} free NICs are not there")
        made = [{"nic_id": "", "private_ip": "", "vxnet_id": wanted.vxnet_id, "state": "READY"}] * missing
        actions = [{"action": "warm", "vxnet": wanted.vxnet_id, "count": missing}] if missing else []
        now = self._pool() if missing and not check and self._wait else [*before, *made]
        return self._result(actions, before, [*before, *made], now)

    def _give_back(self, nic_ids: t.Sequence[str], check: bool) -> dict[str, t.Any]:
        before = [self._table[nic_id] for nic_id in nic_ids]
        leaving = [nic_id for nic_id in nic_ids if self._table[nic_id]["state"] not in ("DETACHING", "DELETING")]
        if nic_ids:
            self._agent.ask("give_back", nics=list(nic_ids), check=check)
            if not check and self._wait:
                self._until(lambda: not set(nic_ids) & set(self._table), f"{', '.join(nic_ids)} is not gone")
        actions = [{"action": "give_back", "nics": leaving}] if leaving else []
        return self._result(actions, before, [], [])

    def _until(self, done: t.Callable[[], bool], what: str) -> None:
        until = self._clock() + self._timeout
        while not done():
            if self._clock() >= until:
                raise Timeout(
                    f"{what} after {self._timeout:g} s: `qingagent explain` says why; or raise wait_timeout",
                    changed=True,
                )
            self._sleep(POLL)
            self._table = self._agent.pool()

    def _result(
        self,
        actions: list[dict[str, t.Any]],
        before: t.Sequence[Record],
        after: t.Sequence[Record],
        now: t.Sequence[Record],
    ) -> dict[str, t.Any]:
        wanted = self._wanted
        here = {
            "nic_name": wanted.name,
            "instance_id": wanted.instance_id,
            "status": "in-use",
            "primary": False,
            "created": 0,
        }
        return {
            "changed": bool(actions),
            "instance": wanted.instance_id,
            "asked": "agent",
            "actions": actions,
            "left": [],
            "nics": [{**here, **{key: nic[key] for key in ("nic_id", "vxnet_id", "private_ip")}} for nic in now],
            "diff": {"before": _picture(before), "after": _picture(after)},
        }


def _picture(nics: t.Iterable[Record]) -> str:
    lines = (f"{n['nic_id'] or 'a new NIC'} {n['private_ip'] or '-'} {n['vxnet_id'] or '-'} {n['state']}" for n in nics)
    return "".join(f"{line}\n" for line in sorted(lines))
