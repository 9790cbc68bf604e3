# SPDX-License-Identifier: GPL-3.0-or-later
"""How jobs went: when each was pending, working and over, as exactly as looking every now and then tells."""

from __future__ import annotations

import statistics
import typing as t
from dataclasses import dataclass

from ...hostnic.errors import Denied
from .estate import Clock, Seen

Wait = t.Callable[[t.Sequence[str], Seen], None]


@dataclass
class Course:
    """Times at which a job was last seen pending, first seen past that, last seen live, first seen over."""

    job_id: str
    sent: float
    nics: int
    waited: float
    began: float
    worked: float
    ended: float
    status: str = ""

    @property
    def lived(self) -> bool:
        """It was seen before it was over."""
        return self.worked > self.sent

    @property
    def pending(self) -> float:
        return (self.waited + self.began) / 2 - self.sent

    @property
    def working(self) -> float:
        return (self.worked + self.ended) / 2 - (self.waited + self.began) / 2

    def insist(self) -> None:
        """Raises `Denied` for a job that failed."""
        if self.status != "successful":
            raise Denied(f"job {self.job_id} ended as {self.status or 'unknown'}")


class Courses:
    """`wait` is `Estate.wait`."""

    def __init__(self, wait: Wait, clock: Clock) -> None:
        self._wait = wait
        self._clock = clock
        self._alone: list[Course] = []  # successful ones that nothing stood before

    def follow(self, job_id: str, sent: float, nics: int = 1) -> Course:
        """Until it is over."""
        course = _new(job_id, sent, nics)
        self._wait([job_id], lambda statuses: _note(course, statuses, self._clock()))
        self._keep(course)
        return course

    def race(self, first: str, second: str, sent: float) -> tuple[Course, Course, bool]:
        """Of two jobs at once; whether both were seen working at a time."""
        one, other = _new(first, sent, 1), _new(second, sent, 1)
        seen: list[bool] = []

        def note(statuses: t.Mapping[str, str]) -> None:
            _note(one, statuses, self._clock())
            _note(other, statuses, self._clock())
            seen.append(all(statuses.get(job_id) == "working" for job_id in (first, second)))

        self._wait([first, second], note)
        self._keep(one)
        return one, other, any(seen)

    def pending(self) -> t.Optional[float]:
        """The median; None of none."""
        return _median([course.pending for course in self._alone])

    def working(self, nics: int) -> t.Optional[float]:
        """The median of jobs with so many NICs; None of none."""
        return _median([course.working for course in self._alone if course.nics == nics])

    def totals(self) -> dict[str, list[float]]:
        return {"job": [course.ended - course.sent for course in self._alone]}

    def _keep(self, course: Course) -> None:
        if course.status == "successful":
            self._alone.append(course)


def _new(job_id: str, sent: float, nics: int) -> Course:
    return Course(job_id, sent, nics, sent, 0.0, sent, 0.0)


def _note(course: Course, statuses: t.Mapping[str, str], now: float) -> None:
    status = statuses.get(course.job_id, "")
    if course.status or not status:
        return
    if status == "pending":
        course.waited = course.worked = now
        return
    course.began = course.began or now
    if status == "working":
        course.worked = now
        return
    course.ended, course.status = now, status


def _median(values: t.Sequence[float]) -> t.Optional[float]:
    return statistics.median(values) if values else None
