# SPDX-License-Identifier: GPL-3.0-or-later
"""What is measured, and how. Each finding has the name of a setting of the emulator (tests/emulator/settings.py)."""

from __future__ import annotations

import functools
import os
import re
import statistics
import typing as t
from dataclasses import dataclass, field

from ...hostnic.cloud import items
from ...hostnic.cloud.qingcloud import QingCloud
from ...hostnic.errors import Busy, Denied, HostnicError, NotFound, QuotaExceeded, VxnetFull
from .courses import Courses
from .estate import NICS, POLL, VISIBLE, Clock, Estate, Sleep, names

TRIED: t.Final = 64  # ids in the longest list: more than an instance takes NICs
_LISTS: t.Final = {"AttachNics": "attach_list_max", "DetachNics": "detach_list_max", "DeleteNics": "delete_list_max"}
_INSTANCE_FULL: t.Final = ("the instance takes no more",)
_MAC: t.Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", re.I)
_NUMBER: t.Final = re.compile(r"\d+")
# An answer, though not the one that was hoped for. Anything else ends the probe.
_REFUSALS: t.Final = (Denied, NotFound, QuotaExceeded, VxnetFull)


@dataclass
class Findings:
    """`settings`: what goes into probe.json; `unmeasured`: setting ► why; `seconds`: medians of what was done."""

    settings: dict[str, t.Any] = field(default_factory=dict)
    unmeasured: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Probe:
    """Measures with the NICs of `estate`, which whoever calls clears afterwards. `sleep` waits by `clock`."""

    def __init__(self, cloud: QingCloud, instance_id: str, estate: Estate, clock: Clock, sleep: Sleep) -> None:
        self._cloud = cloud
        self._instance_id = instance_id
        self._estate = estate
        self._clock = clock
        self._sleep = sleep
        self._courses = Courses(estate.wait, clock)
        self._reads: list[float] = []
        self._creates: list[float] = []
        self._deletes: list[float] = []
        self.found = Findings()

    def run(self) -> Findings:
        """Raises `HostnicError` where the API fails, or what all the rest depends on is refused."""
        self._attempt(self._limits, "limit_overflow", "limit_invalid")
        self._attempt(self._unknown, "unknown_nic")
        for action, setting in _LISTS.items():
            self._attempt(functools.partial(self._longest_list, action, setting), setting)
        first, second, third, fourth = self._create()
        self._attempt(self._name_filter, "nic_name_match")
        self._attempt(lambda: self._aspoof(first), "aspoof_change", "aspoof_shown")
        self._attempt(lambda: self._alone(first), "job_pending_seconds", "job_working_seconds", "nic_status_flip")
        self._attempt(lambda: self._side_by_side(second, third), "parallel_jobs_per_instance")
        self._attempt(lambda: self._together(second, third), "job_seconds_per_nic")
        self._delete(fourth)
        self._times()
        if "nics_per_instance" not in self.found.settings:
            self.found.unmeasured["nics_per_instance"] = "the cloud attached all of the probe's NICs"
        return self.found

    def _attempt(self, measure: t.Callable[[], object], *settings: str) -> None:
        try:
            measure()
            why = "the answers do not tell"
        except _REFUSALS as error:
            self._learn_limit(error)
            why = error.message
        for name in settings:
            if name not in self.found.settings:
                self.found.unmeasured[name] = why

    # -- what costs nothing --------------------------------------------------------------------------------------------

    def _limits(self) -> None:
        for setting, limit, fine, refused in (
            ("limit_overflow", 101, "clamp", "error"),
            ("limit_invalid", 0, "default", "error"),
        ):
            error = self._refusal("DescribeNics", instances=[self._instance_id], limit=limit, offset=0)
            self.found.settings[setting] = refused if error else fine

    def _unknown(self) -> None:
        error = self._refusal("DescribeNics", nics=_nobodys(1))
        if error is None or isinstance(error, NotFound):
            self.found.settings["unknown_nic"] = "2100" if error else "omit"

    def _longest_list(self, action: str, setting: str) -> None:
        """The length up to which a list of unknown NICs is refused for the same reason as a short one."""
        alone, why = self._answer_to(action, 1), self._answer_to(action, TRIED)
        fine, refused = 1, TRIED
        while alone != why and refused - fine > 1:
            middle = (fine + refused) // 2
            answer = self._answer_to(action, middle)
            if answer == alone:
                fine = middle
            else:
                refused, why = middle, answer
        if why in (alone, _INSTANCE_FULL):
            self.found.settings[setting] = 0
        else:
            self.found.settings.update({setting: fine, "list_too_long_code": why[0]})

    def _answer_to(self, action: str, length: int) -> tuple[t.Any, ...]:
        """What of the answer does not depend on the ids."""
        target = {"instance": self._instance_id} if action == "AttachNics" else {}
        error = self._refusal(action, nics=_nobodys(length), **target)
        if error is None:
            return ("accepted",)
        if self._learn_limit(error):
            return _INSTANCE_FULL
        words = re.findall("[A-Za-z]{3,}", _MAC.sub("", error.details["message"]))
        return error.details["ret_code"], *sorted(set(words))

    # -- what takes NICs -----------------------------------------------------------------------------------------------

    def _create(self) -> list[str]:
        """All four; how long the first takes to show."""
        for number in range(NICS):
            self._sleep(POLL)  # or the time measured would be that of waiting for a turn to call
            began = self._clock()
            self._estate.create()
            self._creates.append(self._clock() - began)
            if number == 0:
                self._lag("describe_lag", lambda: bool(self._shown(self._estate.made)))
        octets = os.path.commonprefix([nic_id.split(":") for nic_id in self._estate.made])
        self.found.settings["mac_prefix"] = ":".join(octets)
        made = self._estate.made
        self._until(lambda: len(self._shown(made)) == len(made))
        return made

    def _name_filter(self) -> None:
        shown = {items.text(row, "nic_name") for row in self._rows(nic_name=names(self._instance_id)[0])}
        by_rule = {1: "exact", 2: "prefix", 4: "substring"}
        found = [name for name in names(self._instance_id) if name in shown]
        if found == list(names(self._instance_id)[: len(found)]) and len(found) in by_rule:
            self.found.settings["nic_name_match"] = by_rule[len(found)]

    def _aspoof(self, nic_id: str) -> None:
        self.found.settings["aspoof_shown"] = any("enable_aspoof" in row for row in self._shown([nic_id]))
        error = self._refusal("ModifyNicAttributes", nic=nic_id, enable_aspoof=0)
        self.found.settings["aspoof_change"] = "refuse" if error else "accept"
        if error:
            self.found.settings["aspoof_refused_code"] = error.details["ret_code"]

    def _alone(self, nic_id: str) -> None:
        """A job on and a job off, with nothing beside them; when Describe shows the first."""
        sent = self._clock()
        job_id = self._cloud.attach_nics([nic_id], self._instance_id)
        early = bool(items.text(self._shown([nic_id])[0], "instance_id"))
        course = self._courses.follow(job_id, sent)
        if course.lived:
            self.found.settings["nic_status_flip"] = "start" if early else "end"
        course.insist()
        self._courses.follow(self._cloud.detach_nics([nic_id]), self._clock()).insist()

    def _side_by_side(self, one: str, other: str) -> None:
        sent = self._clock()
        first = self._cloud.attach_nics([one], self._instance_id)
        try:
            second = self._cloud.attach_nics([other], self._instance_id)
        except (*_REFUSALS, Busy) as error:
            if error.ambiguous:
                raise
            self._courses.follow(first, sent).insist()
            if not isinstance(error, (Busy, Denied)):
                raise
            self._courses.follow(self._cloud.attach_nics([other], self._instance_id), self._clock(), 1).insist()
            self.found.settings.update(parallel_jobs_per_instance="refuse", busy_code=error.details["ret_code"])
            return
        before, after, together = self._courses.race(first, second, sent)
        before.insist()
        after.insist()
        queued = not together and after.ended - sent > 1.5 * (before.ended - sent)
        self.found.settings["parallel_jobs_per_instance"] = "queue" if queued else "allow"

    def _together(self, *nic_ids: str) -> None:
        """Two NICs in one job off."""
        attached = [nic_id for nic_id in nic_ids if items.text(self._shown([nic_id])[0], "instance_id")]
        if len(attached) < len(nic_ids):
            raise Denied("not enough of the probe's NICs could be attached")
        self._courses.follow(self._cloud.detach_nics(attached), self._clock(), len(attached)).insist()

    def _delete(self, first: str) -> None:
        """All that are free; how long the first is shown on."""
        for nic_id in [first, *(one for one in self._estate.made if one != first)]:
            self._sleep(POLL)
            began = self._clock()
            try:
                self._estate.delete(nic_id)
            except _REFUSALS:
                continue  # attached still, which is for `Estate.clear`
            self._deletes.append(self._clock() - began)
            if nic_id == first:
                self._lag("delete_lag", lambda: not self._shown([first]))

    # -- how -----------------------------------------------------------------------------------------------------------

    def _times(self) -> None:
        settings, courses = self.found.settings, self._courses
        seconds = {"create": self._creates, "delete": self._deletes, **courses.totals()}
        self.found.seconds = {name: round(statistics.median(times), 2) for name, times in seconds.items() if times}
        settings["api_latency"] = round(min(self._reads), 2)
        pending, working = courses.pending(), courses.working(1)
        if pending is None or working is None:
            return
        both = courses.working(2)
        each = both - working if both is not None and both - working > 2 * POLL else 0.0
        settings["job_pending_seconds"] = round(pending, 2)
        settings["job_working_seconds"] = round(max(0.0, working - each), 2)
        if both is not None:
            settings["job_seconds_per_nic"] = round(each, 2)
        for name in ("job_pending_seconds", "job_working_seconds", "job_seconds_per_nic"):
            if name in settings:
                self.found.unmeasured.pop(name, None)

    def _lag(self, setting: str, there: t.Callable[[], bool]) -> None:
        """Seconds from now until `there`; 0 where the first look has it."""
        began, before = self._clock(), self._clock()
        for look in range(int(2 * VISIBLE / POLL)):
            now = self._clock()
            if there():
                self.found.settings[setting] = round((before + now) / 2 - began, 2) if look else 0.0
                return
            before = now
            self._sleep(POLL)
        self.found.unmeasured[setting] = f"it is more than {2 * VISIBLE:g} s"

    def _until(self, condition: t.Callable[[], bool]) -> None:
        until = self._clock() + 2 * VISIBLE
        while not condition() and self._clock() < until:
            self._sleep(POLL)

    def _learn_limit(self, error: HostnicError) -> bool:
        """Whether the refusal tells how many NICs an instance may have."""
        if not isinstance(error, QuotaExceeded) or error.details.get("scope") != "instance":
            return False
        told = _NUMBER.findall(_MAC.sub("", re.sub(r"\bi-[a-z0-9]+", "", error.details["message"])))
        if len(told) == 1:
            self.found.settings["nics_per_instance"] = int(told[0])
            self.found.settings["nic_limit_code"] = error.details["ret_code"]
        return True

    def _refusal(self, action: str, **params: t.Any) -> t.Optional[HostnicError]:
        """Why the call was refused, None where it was not; a job of it is waited for. Raises what is no refusal."""
        try:
            job_id = items.text(self._cloud.call(action, params), "job_id")
        except _REFUSALS as error:
            return error
        if job_id:
            self._estate.wait([job_id])
        return None

    def _shown(self, nic_ids: t.Sequence[str]) -> list[dict[str, t.Any]]:
        """Of these, what DescribeNics shows."""
        rows = self._rows(nics=list(nic_ids))
        return [row for row in rows if items.mac(items.text(row, "nic_id")) in nic_ids]

    def _rows(self, **params: t.Any) -> list[dict[str, t.Any]]:
        began = self._clock()
        try:
            return items.rows(self._cloud.call("DescribeNics", {**params, "limit": 100, "offset": 0}), "nic_set")
        except NotFound:
            return []
        finally:
            self._reads.append(self._clock() - began)


def _nobodys(count: int) -> list[str]:
    """Ids that no NIC has: a group's address is none of a NIC."""
    return [f"53:54:00:00:00:{number:02x}" for number in range(count)]
