# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole in one object: a context manager for tests, started by ``__main__`` as a process."""

from __future__ import annotations

import contextlib
import typing as t
from pathlib import Path

from tests.emulator import world as worlds
from tests.emulator.api import Api
from tests.emulator.clock import Clock, SystemClock
from tests.emulator.cloud import Cloud
from tests.emulator.control import Control
from tests.emulator.counters import Counters
from tests.emulator.dataplane.base import DataPlane, NoDataPlane
from tests.emulator.errors import EmulatorError
from tests.emulator.faults import FaultBook
from tests.emulator.http import Answer, HttpService
from tests.emulator.metadata import Metadata
from tests.emulator.runner import JobRunner
from tests.emulator.settings import Settings

LOOPBACK = "127.0.0.1:0"


class Emulator:
    """``with Emulator() as emu:`` serves on free loopback ports until the block ends.

    ``world`` is a path or the object itself; without one, build it with ``emu.cloud.add_...`` once started.
    The order of starting is data plane, world, listeners: a listener may be bound to the uplink's address.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        world: Path | t.Mapping[str, t.Any] | None = None,
        clock: Clock | None = None,
        dataplane: DataPlane | None = None,
        listen: t.Sequence[str] = (LOOPBACK,),
        control: str = LOOPBACK,
        metadata: str = LOOPBACK,
        seed: int | None = None,
    ) -> None:
        self.faults = FaultBook()
        self.counters = Counters()
        self.clock: Clock = clock or SystemClock()
        self.dataplane: DataPlane = dataplane or NoDataPlane()
        self.cloud = Cloud(settings or Settings(), self.clock, self.dataplane, seed)
        self.runner = JobRunner(self.cloud)
        self.control = Control(self.cloud, self.faults, self.counters, self.runner)
        self._api = Api(self.cloud, self.faults, self.counters, self.runner.poke)
        self._world = world
        self._addresses = (tuple(listen), control, metadata)
        self._services: list[HttpService] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Emulator:
        self.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def start(self) -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(self.dataplane.close)
            self.dataplane.open(self.cloud.settings.port_security)
            if isinstance(self._world, Path):
                worlds.load(self.cloud, self._world)
            elif self._world is not None:
                worlds.build(self.cloud, self._world)
            self.runner.start()
            stack.callback(self.runner.stop)
            listen, control, metadata = self._addresses
            answers: list[tuple[str, Answer]] = [(address, self._api.answer) for address in listen]
            answers += [(control, self.control.answer), (metadata, Metadata(self.cloud).answer)]
            self._services = []
            for address, answer in answers:
                service = HttpService(address, answer)
                stack.callback(service.stop)
                self._services.append(service)
                service.start()
            stack.callback(self._api.stopping.set)
            self._stack = stack.pop_all()

    def stop(self) -> None:
        self._stack.close()

    @property
    def urls(self) -> list[str]:
        """Of the API, one for each listener, without a path."""
        return [f"http://{service.address}" for service in self._started()[:-2]]

    @property
    def url(self) -> str:
        return self.urls[0]

    @property
    def control_url(self) -> str:
        return f"http://{self._started()[-2].address}"

    @property
    def metadata_url(self) -> str:
        return f"http://{self._started()[-1].address}"

    def advance(self, seconds: float) -> None:
        """Move a manual clock; what became due has run on return."""
        self.control.advance(seconds)

    def quiesce(self, timeout: float = 30.0) -> None:
        """Return when no job is live and the data plane is settled."""
        if not self.runner.await_quiet(timeout):
            raise TimeoutError(f"not quiet after {timeout} s")

    def _started(self) -> list[HttpService]:
        if not self._services:
            raise EmulatorError("the emulator is not started")
        return self._services
