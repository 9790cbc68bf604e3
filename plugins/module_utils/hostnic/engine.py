# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool put together: the agent, the modules and the tests build it here, each with adapters of its own."""

from __future__ import annotations

import random
import threading
import typing as t

from .config import Settings
from .orders import Orders
from .parts import Parts
from .pool import Pool
from .ports import Clock, Cloud, Guard, Links, Store
from .probed import Probed
from .reconcile import Reconciler
from .survey import Survey
from .table import Table
from .telemetry import SILENCE, Telemetry


class Engine:
    """`wake` is set whenever demand or supply changed and a `reconciler.step` is worth its while."""

    def __init__(
        self,
        settings: Settings,
        instance_id: str,
        boot_id: str,
        cloud: Cloud,
        links: Links,
        guard: Guard,
        store: Store,
        clock: Clock,
        dice: t.Callable[[], float] = random.random,
        level: t.Optional[t.Callable[[], str]] = None,
        probed: t.Optional[Probed] = None,
        listener: Telemetry = SILENCE,
        wake: t.Optional[threading.Event] = None,
    ) -> None:
        """`level`: see `Parts`; the settings' own where nothing else tells. `probed`: what is known of the cloud."""
        probed = probed or Probed()
        self.wake = wake or threading.Event()
        self._store = store
        self.table = Table(store, clock)
        self.table.open(boot_id, instance_id)
        self.orders = Orders(self.table, clock, self.wake.set)
        self.pool = Pool(settings, self.table, links, clock, self.wake.set, probed.lead_time)
        self.survey = Survey(self.table, links, self.pool, clock, listener)
        parts = Parts(
            instance_id, cloud, links, guard, self.table, self.orders, self.pool, self.survey, clock, dice,
            level or (lambda: self.pool.settings.degradation), probed, listener,
        )  # fmt: skip
        self.reconciler = Reconciler(parts)
        parts.protect()
        self.survey.run(starting=True)

    def reload(self, settings: Settings) -> None:
        """These count from now on; see `agent.reload` for those that may change."""
        with self.table.changed:
            self.pool.settings = settings
            self.table.changed.notify_all()
        self.wake.set()

    def close(self) -> None:
        """Nothing may be called afterwards."""
        self._store.close()
