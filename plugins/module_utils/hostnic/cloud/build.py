# SPDX-License-Identifier: GPL-3.0-or-later
"""A ready `QingCloud` from the agent's settings and the access file."""

from __future__ import annotations

import random
import time
import typing as t

from ..config import Settings
from .breaker import Breaker
from .connection import Connection, Observer
from .credentials import Access
from .fresh import FreshConnection
from .keys import keys_for
from .limiter import RateLimiter
from .qingcloud import QingCloud
from .retry import Patience

PATIENCE: t.Final = 20.0  # s
FOR_A_POD: t.Final = 4  # calls


def connect(
    settings: Settings,
    *,
    origins: t.Optional[t.Mapping[str, str]] = None,
    overrides: t.Optional[t.Mapping[str, t.Any]] = None,
    limiter: t.Optional[RateLimiter] = None,
    breaker: t.Optional[Breaker] = None,
    observe: t.Optional[Observer] = None,
    patience: t.Optional[float] = None,
    clock: t.Callable[[], float] = time.monotonic,
    wall: t.Callable[[], float] = time.time,
    sleep: t.Callable[[float], object] = time.sleep,
    rng: t.Callable[[], float] = random.random,
) -> QingCloud:
    """Nothing is sent yet. Raises `InvalidConfig`.

    `origins` as `settings.load` gives them: a zone that was only a default gives way to the access file's.
    `overrides` are keys of the access file (see `credentials.from_environ`). `patience`: seconds in which a
    call, and a read's repetitions, have to be on their way; None: 20, or as long as a call may wait for its turn.
    `limiter` None: one of `settings.api_rate` calls a second, and `burst_of` them at once.
    `breaker` None: one by the limiter's clock that tries again within `settings.reconcile_interval`, so that each
    round of the agent finds out.
    """
    limiter = limiter or RateLimiter(settings.api_rate, burst_of(settings), clock, sleep, rng=rng)
    breaker = breaker or Breaker(longest=settings.reconcile_interval, clock=limiter.clock, rng=rng)

    def made(access: Access) -> Connection:
        return Connection(
            access,
            keys_for(access, wall=wall),
            limiter,
            zone=zone_of(settings, access, origins or {}),
            breaker=breaker,
            observe=observe,
            clock=clock,
            wall=wall,
        )

    connection = FreshConnection(settings.access_file, overrides, made)
    patient = Patience(
        retries=connection.access.retries,
        deadline=PATIENCE if patience is None else patience,
        clock=clock,
        sleep=sleep,
        rng=rng,
        turn=lambda: limiter.longest if patience is None else 0.0,
    )
    return QingCloud(connection, patient)


def burst_of(settings: Settings) -> int:
    """A second's worth of calls, and no fewer than a pod may wait for: vxnet, create, attach and the look after it."""
    return max(FOR_A_POD, round(settings.api_rate))


def zone_of(settings: Settings, access: Access, origins: t.Mapping[str, str]) -> str:
    """As the original: a zone that was set wins over the access file's. A default does not."""
    if access.zone and origins.get("zone", "default") == "default":
        return access.zone
    return settings.zone
