# SPDX-License-Identifier: GPL-3.0-or-later
"""Carrying out a `nics.Plan` where no agent does: make, attach, detach and delete, each settled by another look."""

from __future__ import annotations

import logging
import time
import typing as t

from .errors import Busy, Denied, HostnicError, NotFound, Timeout, VxnetFull
from .model import CloudNic
from .nics import Plan, Wanted
from .ports import Cloud
from .settle import VISIBLE

log = logging.getLogger("hostnic.nicwork")

CHUNK: t.Final = 10  # NICs in one job, and one job at a time: some clouds refuse a second one on an instance
CREATES: t.Final = 3  # tries of a CreateNics whose outcome nobody knows
PAUSES: t.Final = (2.0, 4.0, 8.0)  # s, before what a busy cloud has refused is sent again
POLL: t.Final = 1.0  # s between looks
LIVE: t.Final = ("pending", "working")  # a job in any other status is over
FAILED: t.Final = ("failed", "done with failure")

_Send = t.Callable[[t.Sequence[str]], str]


class Worker:
    """One run. `timeout`: seconds for all of it; `wait` False: the last job is only sent."""

    def __init__(
        self,
        cloud: Cloud,
        wanted: Wanted,
        *,
        wait: bool = True,
        timeout: float = 300.0,
        clock: t.Callable[[], float] = time.monotonic,
        sleep: t.Callable[[float], object] = time.sleep,
    ) -> None:
        self._cloud = cloud
        self._wanted = wanted
        self._wait = wait
        self._timeout = timeout
        self._clock = clock
        self._sleep = sleep
        self._until = clock() + timeout
        self._sent = False

    def look(self) -> list[CloudNic]:
        """The NICs that it is about, as the cloud shows them now."""
        wanted = self._wanted
        if wanted.nic_ids:
            return self._cloud.describe_nics(nic_ids=wanted.nic_ids)
        return [nic for nic in self._cloud.describe_nics(name=wanted.name) if wanted.fits(nic)]

    def check_room(self, plan: Plan) -> None:
        """Raise what making the plan's NICs would be refused with, as far as that is known before."""
        if not plan.create:
            return
        found = {vxnet.vxnet_id: vxnet for vxnet in self._cloud.describe_vxnets([self._wanted.vxnet_id])}
        vxnet = found.get(self._wanted.vxnet_id)
        if vxnet is None:
            raise NotFound(f"vxnet: the cloud has no vxnet {self._wanted.vxnet_id} in this zone")
        problem = vxnet.problem()
        if problem:
            raise problem
        if vxnet.available is not None and vxnet.available < plan.create:
            raise VxnetFull(
                f"vxnet {vxnet.vxnet_id} has {vxnet.available} free addresses, and {plan.create} more NICs have to be"
                " made: lower count, or name another vxnet"
            )

    def carry_out(self, plan: Plan) -> list[str]:
        """Returns the ids of new NICs. An error that comes after something was changed has `changed` in its details."""
        try:
            made = self._create(plan) if plan.create else []
            ids = [nic.nic_id for nic in plan.attach] + (made if plan.attach_new else [])
            instance_id = self._wanted.instance_id
            self._jobs("attach", ids, lambda some: self._cloud.attach_nics(some, instance_id), self._attached)
            self._detach(plan)
            self._delete([nic.nic_id for nic in plan.delete])
            return made
        except HostnicError as error:
            error.details["changed"] = self._sent
            raise

    # -- making --------------------------------------------------------------------------------------------------------

    def _create(self, plan: Plan) -> list[str]:
        """A call whose outcome is not known has made whatever shows by its name and did not before it was sent."""
        made: list[str] = []
        for attempt in range(CREATES):
            missing = plan.private_ips[len(made) :] if plan.private_ips else ()
            before = self._named()
            if plan.private_ips and made:
                there = {nic.private_ip for nic in before.values()}
                missing = tuple(address for address in plan.private_ips if address not in there)
            count = plan.create - len(made)
            try:
                nics = self._cloud.create_nics(self._wanted.vxnet_id, count, self._wanted.name, missing)
            except HostnicError as error:
                if not error.ambiguous:
                    raise
                self._sent = True
                made += self._made_after_all(before.keys(), count)
                if len(made) < plan.create and attempt == CREATES - 1:
                    raise
                log.warning("%s; it made %d of %d NICs", error.message, len(made), plan.create)
            else:
                self._sent = True
                made += [nic.nic_id for nic in nics]
            if len(made) >= plan.create:
                break
        if self._wait:
            self._until_seen(lambda: self._named().keys() >= set(made), "the new NICs do not show under their name")
        return made

    def _made_after_all(self, before: t.Collection[str], count: int) -> list[str]:
        until = self._clock() + VISIBLE
        while True:
            made = [nic_id for nic_id in self._named() if nic_id not in before]
            if len(made) >= count or self._clock() >= until:
                return made[:count]
            self._pause("what CreateNics has made does not show")

    def _named(self) -> dict[str, CloudNic]:
        found = self._cloud.describe_nics(name=self._wanted.name)
        return {nic.nic_id: nic for nic in found if nic.vxnet_id == self._wanted.vxnet_id}

    # -- jobs ----------------------------------------------------------------------------------------------------------

    def _detach(self, plan: Plan) -> None:
        """What was planned on is looked at again: only what is still where it was, under its name, is taken away."""
        ids = [nic.nic_id for nic in plan.detach]
        seen = {nic.nic_id: nic for nic in self._cloud.describe_nics(nic_ids=ids)} if ids else {}
        for nic in plan.detach:
            now = seen.get(nic.nic_id)
            if now is None or not now.attached:
                ids.remove(nic.nic_id)
            elif (now.nic_name, now.instance_id, now.role) != (nic.nic_name, nic.instance_id, nic.role):
                raise Busy(f"{nic.nic_id} was changed by somebody else meanwhile: look at it, then run this again")
        self._jobs("detach", ids, self._cloud.detach_nics, self._detached, last=not plan.delete)

    def _jobs(
        self,
        what: str,
        ids: t.Sequence[str],
        send: _Send,
        there: t.Callable[[t.Sequence[str]], bool],
        last: bool = True,
    ) -> None:
        batches = [list(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
        while batches:
            batch = batches.pop(0)
            try:
                job_id = self._send(batch, send)
            except (Denied, NotFound):
                if len(batch) == 1:
                    raise
                batches[:0] = _halves(batch)
                continue
            if self._wait or batches or not last:
                self._settle(what, batch, job_id, there)

    def _send(self, ids: t.Sequence[str], send: _Send) -> str:
        """The job; "" where nobody knows whether there is one. Nothing is sent for no NIC."""
        if not ids:
            return ""
        for pause in (*PAUSES, None):
            try:
                job_id = send(ids)
                self._sent = True
                return job_id
            except HostnicError as error:
                if error.ambiguous:
                    self._sent = True
                    return ""
                if not isinstance(error, Busy) or pause is None:
                    raise
                log.info("%s; trying again in %.0f s", error.message, pause)
                self._sleep(pause)
        return ""

    def _settle(self, what: str, ids: t.Sequence[str], job_id: str, there: t.Callable[[t.Sequence[str]], bool]) -> None:
        """Until the job is over, if there is one, and all are there, which may show before or after."""
        over_since: t.Optional[float] = None
        while True:
            # before the NICs: what a job that is over has done is then visible
            status = self._cloud.describe_jobs([job_id]).get(job_id, "not known") if job_id else "not known"
            if status not in LIVE and there(ids):
                return
            now = self._clock()
            over_since = None if status in LIVE else now if over_since is None else over_since
            patience = 3 * POLL if status in FAILED else VISIBLE
            if over_since is not None and now - over_since >= patience:
                told = f"job {job_id} is {status}" if job_id else "the call was not answered"
                raise Busy(f"the cloud did not {what} {', '.join(ids)}: {told}", action=f"{what.capitalize()}Nics")
            self._pause(f"{what}ing {', '.join(ids)} is not over")

    def _attached(self, ids: t.Sequence[str]) -> bool:
        seen = self._cloud.describe_nics(nic_ids=ids)
        return {nic.nic_id for nic in seen if nic.attached and nic.instance_id == self._wanted.instance_id} >= set(ids)

    def _detached(self, ids: t.Sequence[str]) -> bool:
        return not any(nic.attached for nic in self._cloud.describe_nics(nic_ids=ids))

    # -- deleting ------------------------------------------------------------------------------------------------------

    def _delete(self, ids: t.Sequence[str]) -> None:
        batches = [list(ids[start : start + CHUNK]) for start in range(0, len(ids), CHUNK)]
        while batches:
            batch = batches.pop(0)
            try:
                self._send(self._free(batch), self._delete_now)
            except (Denied, NotFound) as error:
                if len(batch) > 1:
                    batches[:0] = _halves(batch)
                elif not isinstance(error, NotFound):  # else it is gone already
                    raise
        if ids and self._wait:
            gone = "the cloud still shows NICs that were deleted"
            self._until_seen(lambda: not self._cloud.describe_nics(nic_ids=ids), gone)

    def _delete_now(self, ids: t.Sequence[str]) -> str:
        self._cloud.delete_nics(ids)
        return ""

    def _free(self, ids: t.Sequence[str]) -> list[str]:
        """Those that are there at the last look; raises `Busy` where one is not free, under its name, any more."""
        seen = self._cloud.describe_nics(nic_ids=ids)
        taken = [nic.nic_id for nic in seen if nic.attached or not self._still(nic)]
        if taken:
            raise Busy(f"{', '.join(taken)} was taken by somebody else meanwhile: it is left alone, run this again")
        return [nic.nic_id for nic in seen]

    def _still(self, nic: CloudNic) -> bool:
        return self._wanted.force or (
            nic.role != 1 and (bool(self._wanted.nic_ids) or nic.nic_name == self._wanted.name)
        )

    # -- waiting -------------------------------------------------------------------------------------------------------

    def _until_seen(self, done: t.Callable[[], bool], what: str) -> None:
        while not done():
            self._pause(what)

    def _pause(self, what: str) -> None:
        if self._clock() >= self._until:
            raise Timeout(f"{what} after {self._timeout:g} s: raise wait_timeout, or look at it later")
        self._sleep(POLL)


def _halves(batch: list[str]) -> list[list[str]]:
    """One of them, or the length of the list, was refused."""
    half = len(batch) // 2
    return [batch[:half], batch[half:]]
