# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether this cloud runs attach jobs of one instance side by side: found out, and remembered in the journal.

Nobody documents it. A cloud that does not may refuse a job while another runs, or let it wait in a queue.
"""

from __future__ import annotations

import logging
import typing as t

from .model import Fact, Intent
from .ports import Clock
from .probed import Probed
from .states import State
from .table import Table

log = logging.getLogger("hostnic.jobs")

ATTACH_JOBS: t.Final = "attach jobs"  # the name of the fact
SERIAL: t.Final = "one at a time"
MOST_AT_ONCE: t.Final = 60  # NICs in the largest attach job
DOUBTS: t.Final = 2  # batches refused beside another job, until that job is taken for the reason
QUEUED: t.Final = 2.0  # s that a job may be pending beside one that works, before it is taken to wait for that


class AttachJobs:
    """One thread writes, the reconciler's."""

    def __init__(self, table: Table, chunk: int, clock: Clock, probed: Probed) -> None:
        self._table = table
        self._chunk = chunk
        self._longest = max(chunk, min(MOST_AT_ONCE, probed.list_max or MOST_AT_ONCE))
        self._measured_serial = probed.serial
        self._clock = clock
        self._long_lists = True  # until the cloud has refused one
        self._doubted: tuple[frozenset[str], ...] = ()  # refused beside another job: for that reason?

    @property
    def serial(self) -> bool:
        """A second attach job on this instance is of no use, or that is just being found out."""
        known = self._measured_serial or self._table.fact(ATTACH_JOBS) == SERIAL
        return known or len(self._doubted) >= DOUBTS

    @property
    def chunk(self) -> int:
        """NICs in one job: many small ones side by side, or as many as possible one after the other."""
        return self._longest if self.serial and self._long_lists else self._chunk

    def must_wait(self, nic_ids: t.Collection[str]) -> bool:
        """While others are being attached: alone it will show why these were refused."""
        in_doubt = any(batch.intersection(nic_ids) for batch in self._doubted)
        return (self.serial or in_doubt) and bool(self._table.nics(State.ATTACHING))

    def too_long(self, nic_ids: t.Collection[str]) -> bool:
        """Whether the length of the list may be why it was refused."""
        return len(nic_ids) > self._chunk

    def refused(self, nic_ids: t.Collection[str], crowded: bool) -> None:
        """`crowded`: another job ran, and that may be the reason."""
        self._long_lists = self._long_lists and not self.too_long(nic_ids)
        self._settle(nic_ids)
        if crowded:
            self._doubted = (*self._doubted, frozenset(nic_ids))

    def accepted(self, nic_ids: t.Collection[str]) -> None:
        """What was refused beside another job was welcome alone: so that job was the reason."""
        if any(batch.intersection(nic_ids) for batch in self._doubted):
            self._doubted = ()
            self._remember()

    def seen(self, intents: t.Iterable[Intent], statuses: t.Mapping[str, str]) -> None:
        """What DescribeJobs says of these: one that works while others are pending for long keeps them waiting."""
        attaches = [intent for intent in intents if intent.action == "attach"]
        working = [intent for intent in attaches if statuses.get(intent.job_id) == "working"]
        pending = [intent for intent in attaches if statuses.get(intent.job_id) == "pending"]
        if len(working) == 1 and any(self._clock() - intent.since >= QUEUED for intent in pending):
            self._remember()

    def _settle(self, nic_ids: t.Collection[str]) -> None:
        rest = (batch.difference(nic_ids) for batch in self._doubted)
        self._doubted = tuple(batch for batch in rest if batch)

    def _remember(self) -> None:
        if self._table.fact(ATTACH_JOBS) != SERIAL:
            log.info("attach jobs run one at a time on this instance")
            self._table.apply(put=[Fact(ATTACH_JOBS, SERIAL)])
