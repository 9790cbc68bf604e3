# SPDX-License-Identifier: GPL-3.0-or-later
"""The NICs that a probe makes: four at most, known by their names, and none of them left."""

from __future__ import annotations

import math
import typing as t

from ...hostnic.errors import HostnicError, NotFound, Timeout
from ...hostnic.model import CloudNic
from ...hostnic.ports import Cloud
from ...hostnic.settle import VISIBLE

NICS: t.Final = 4
POLL: t.Final = 0.25  # s between looks at a job: what times are exact to
JOB_LONGEST: t.Final = 180.0  # s
CLEARING: t.Final = 300.0  # s that it may take to get rid of the NICs, whatever the API says meanwhile
_PAUSES: t.Final = (1.0, 10.0)  # s between two tries: the first, the longest

Clock = t.Callable[[], float]
Sleep = t.Callable[[float], object]
Seen = t.Callable[[t.Mapping[str, str]], object]  # job id ► status


def names(instance_id: str) -> tuple[str, ...]:
    """Of the NICs, in their order: equal to the first, beginning with it, holding it; a filter shows some of them."""
    base = f"qingprobe_{instance_id}"
    return base, f"{base}-b", f"c-{base}", f"d-{base}"


def find(cloud: Cloud, instance_id: str, known: t.Sequence[str] = ()) -> dict[str, CloudNic]:
    """What the cloud shows of a probe on this instance, by names, and by ids that it gave us: an id may show first."""
    ours = names(instance_id)
    found = [nic for name in ours for nic in cloud.describe_nics(name=name)]
    found += cloud.describe_nics(nic_ids=[nic_id for nic_id in known if nic_id not in {nic.nic_id for nic in found}])
    return {
        nic.nic_id: nic
        for nic in found
        if nic.nic_name in ours and nic.role != 1 and nic.instance_id in ("", instance_id)
    }


class Estate:
    """One probe's NICs on one instance. `sleep` waits by `clock`."""

    def __init__(self, cloud: Cloud, instance_id: str, vxnet_id: str, clock: Clock, sleep: Sleep) -> None:
        self._cloud = cloud
        self._instance_id = instance_id
        self._vxnet_id = vxnet_id
        self._clock = clock
        self._sleep = sleep
        self._asked = 0  # NICs asked for
        self._made: dict[str, float] = {}  # their ids ► when
        self._gone: set[str] = set()
        self._doubtful_until = -math.inf  # an unanswered CreateNics may show its NIC until then

    @property
    def made(self) -> list[str]:
        """Ids, in the order of `names`."""
        return list(self._made)

    def create(self) -> str:
        """The next NIC; its id. Raises what CreateNics raises."""
        if self._asked >= NICS:
            raise HostnicError(f"a probe makes {NICS} NICs and no more")
        name = names(self._instance_id)[self._asked]
        self._asked += 1
        try:
            (nic,) = self._cloud.create_nics(self._vxnet_id, 1, name)
        except HostnicError as error:
            if error.ambiguous:
                self.doubt()
            raise
        self._made[nic.nic_id] = self._clock()
        return nic.nic_id

    def doubt(self) -> None:
        """Somebody may just have made a NIC that does not show yet."""
        self._doubtful_until = self._clock() + VISIBLE

    def wait(self, job_ids: t.Sequence[str], seen: t.Optional[Seen] = None) -> None:
        """Until none of the jobs is live, telling `seen` of each look. Raises `Timeout`."""
        until = self._clock() + JOB_LONGEST
        while True:
            statuses = self._cloud.describe_jobs(job_ids)
            if seen is not None:
                seen(statuses)
            if all(statuses.get(job_id) not in (None, "pending", "working") for job_id in job_ids):
                return
            if self._clock() >= until:
                raise Timeout(f"job {', '.join(job_ids)} was not over after {JOB_LONGEST:g} s")
            self._sleep(POLL)

    def delete(self, nic_id: str) -> None:
        """Raises what DeleteNics raises; a NIC that the cloud does not know any more is deleted."""
        try:
            self._cloud.delete_nics([nic_id])
        except NotFound:
            if self._clock() < self._made.get(nic_id, -math.inf) + VISIBLE:
                raise  # or not yet
        self._gone.add(nic_id)

    def clear(self) -> list[str]:
        """Get rid of all of ours, as often as it takes; ids of what was removed. `HostnicError` tells leftovers."""
        until, pause, before = self._clock() + CLEARING, _PAUSES[0], set(self._gone)
        while True:
            left, trouble = self._clear_once()
            if not left and self._clock() >= self._doubtful_until:
                return sorted(self._gone - before)
            if self._clock() >= until:
                raise _leftovers(left, trouble)
            self._sleep(max(pause, float(trouble.details.get("retry_in") or 0.0) if trouble else 0.0))
            pause = min(1.5 * pause, _PAUSES[1])

    def _clear_once(self) -> tuple[list[str], t.Optional[HostnicError]]:
        """(names or ids of what is still there as far as is known, what last stood in the way)."""
        trouble: t.Optional[HostnicError] = None
        try:
            unseen = [nic_id for nic_id in self._made if nic_id not in self._gone]
            shown = find(self._cloud, self._instance_id, unseen)
            found = {nic_id: nic for nic_id, nic in shown.items() if nic_id not in self._gone}
        except HostnicError as error:
            return [*self._made.keys() - self._gone] or list(names(self._instance_id)), error
        unseen = [nic_id for nic_id in unseen if nic_id not in found]
        for nic_id in [*found, *unseen]:
            try:
                if nic_id in found and found[nic_id].attached:
                    self.wait([self._cloud.detach_nics([nic_id])])
                self.delete(nic_id)
            except HostnicError as error:
                trouble = error
        return [nic_id for nic_id in [*found, *unseen] if nic_id not in self._gone], trouble


def _leftovers(left: t.Sequence[str], trouble: t.Optional[HostnicError]) -> HostnicError:
    why = f" ({trouble.message})" if trouble else ""
    said = f"NICs of the probe may be left: {', '.join(left) or 'one that was asked for without an answer'}{why}"
    details = dict(trouble.details) if trouble else {}
    details.pop("message", None)
    return HostnicError(f"{said}. Run qingcloud.cni.hostnic_probe with state=cleaned once the API answers", **details)
