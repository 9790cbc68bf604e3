# SPDX-License-Identifier: GPL-3.0-or-later
"""NICs made as the original made them: one create, one attach, and waiting for both, before the next one.

In the time of `hours`, which counts the cloud's jobs, the round trips and the pauses, but no processor: so that sixty
of them need not be waited for, and in favour of the original.
"""

from __future__ import annotations

import typing as t
from pathlib import Path

from hostnic.cloud.build import connect
from hostnic.config import Settings
from tests.bench.account import ROUND_TRIP, ZONE, Account
from tests.support.original import Original


class Made(t.NamedTuple):
    """Seconds from the start to each NIC, and calls for each."""

    moments: tuple[float, ...]
    calls: tuple[int, ...]


def make(directory: Path, count: int) -> Made:
    account = Account(1, 1, {}, directory, seed=1)
    hours, [instance_id] = account.hours, account.instances
    kernel = account.kernel(instance_id)
    settings = Settings(zone=ZONE, access_file=str(account.access), vxnet=account.vxnets)
    moments: list[float] = []
    calls: list[int] = []

    def work() -> None:
        cloud = connect(
            settings, clock=account.elapsed, sleep=hours.sleep, rng=lambda: 0.5,
            observe=lambda *__: hours.sleep(ROUND_TRIP),
        )  # fmt: skip
        original = Original(cloud, instance_id, account.vxnets[0], lambda mac: mac in kernel.links, hours.sleep)
        for number in range(count):
            before = len(account.calls)
            original.add(f"pod{number}")
            moments.append(account.elapsed())
            calls.append(len(account.calls) - before)

    try:
        hours.begin("one by one", work)
        hours.run(hours.now() + 60.0 * count, lambda: len(moments) == count)
    finally:
        account.close()
    return Made(tuple(moments), tuple(calls))
