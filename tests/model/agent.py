# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent of one machine: the real engine, client and journal, which may be killed wherever something is done."""

from __future__ import annotations

import shutil
import threading
import typing as t
from pathlib import Path

import yaml

from hostnic.cloud.build import connect
from hostnic.config import Settings
from hostnic.engine import Engine
from hostnic.model import Record
from hostnic.ports import Cloud, Links
from tests.model.cloudside import KEYS, NODE, PATIENCE, SECRET, ZONE
from tests.model.fibers import CoopCondition, CoopLock, Fiber, Killed
from tests.model.journal import WatchedStore, copy_files, damage, write_anew
from tests.model.kernel import Kernel
from tests.model.listener import listener
from tests.model.times import BootClock
from tests.support.memory_kernel import SilentGuard

CLOUD, KERNEL = "cloud", "kernel"


class Life:
    """A process of the agent; it may die at the nth point of a kind: odd ones lie before a deed, even ones after it."""

    def __init__(self) -> None:
        self.over = False
        self.lock: t.Optional[CoopLock] = None
        self.offences: list[str] = []
        self._kind, self._left = "", 0

    def die_at(self, kind: str, nth: int) -> None:
        self._kind, self._left = kind, nth

    def point(self, kind: str) -> None:
        if self.over:
            raise Killed
        if kind == self._kind:
            self._left -= 1
            if not self._left:
                self.over = True
                raise Killed
        if kind in (CLOUD, KERNEL):
            if self.lock is not None and self.lock.held_here():
                self.offences.append(f"the table's lock is held across a call to the {kind}")
            else:
                Fiber.point()
            if self.over:
                raise Killed


class _Cut:
    """An adapter each of whose calls lies between two points."""

    def __init__(self, inner: object, point: t.Callable[[str], None], kind: str) -> None:
        self._inner = inner
        self._point = point
        self._kind = kind

    def __getattr__(self, name: str) -> t.Any:
        method = getattr(self._inner, name)

        def call(*args: t.Any, **kwargs: t.Any) -> t.Any:
            self._point(self._kind)
            result = method(*args, **kwargs)
            self._point(self._kind)
            return result

        return call


class Agent:
    """`sleep` is how its client waits; `changing` is told of each write of its journal; `uuid` as the engine's dice."""

    def __init__(
        self,
        directory: Path,
        kernel: Kernel,
        boot: BootClock,
        *,
        who: str = "node",
        settings: t.Mapping[str, t.Any],
        sleep: t.Callable[[float], None],
        changing: t.Callable[[t.Sequence[Record], t.Sequence[Record]], None] = lambda put, drop: None,
        dice: t.Callable[[], float],
    ) -> None:
        self.kernel = kernel
        self.boot = boot
        self.boot_id = f"boot-of-{who}-1"
        self.engine: t.Optional[Engine] = None
        self.life = Life()
        self.starts: list[float] = []
        self._directory = directory
        self._generation = 0
        self._sleep = sleep
        self._changing = changing
        self._dice = dice
        access = directory / "client.yaml"
        self._files.mkdir(mode=0o700, parents=True)
        access.write_text(yaml.safe_dump(_access(who)))
        access.chmod(0o600)
        self._settings = {"zone": ZONE, "access_file": str(access), **settings}

    @property
    def settings(self) -> Settings:
        return Settings(**self._settings)

    @property
    def up(self) -> Engine:
        assert self.engine is not None
        return self.engine

    @property
    def links(self) -> Links:
        return self._links

    @property
    def _files(self) -> Path:
        return self._directory / f"state-{self._generation}"

    def start(self) -> None:
        """Raises `Killed` where a `die_at` of the next life says so: the files are then as that left them."""
        life, settings = self.life, self.settings
        self.store = WatchedStore(self._files, life.point, self._changing)
        client = connect(settings, clock=self.boot, sleep=self._sleep, rng=self._dice)
        self._links = t.cast(Links, _Cut(self.kernel, life.point, KERNEL))
        cloud = t.cast(Cloud, _Cut(client, life.point, CLOUD))
        guard = SilentGuard()
        try:
            engine = Engine(
                settings, NODE, self.boot_id, cloud, self._links, guard, self.store, self.boot, dice=self._dice
            )  # fmt: skip
        except Killed:
            self._fall()
            raise
        life.lock = CoopLock()
        vars(engine.table).update(lock=life.lock, changed=CoopCondition(life.lock, self.boot))
        plain = type(threading.Lock())
        for part in (engine.survey, engine.pool, engine.reconciler):
            vars(part).update({name: CoopLock() for name, value in vars(part).items() if isinstance(value, plain)})
        self.engine = engine

    def stop(self) -> None:
        """In good order."""
        self.up.close()
        self.engine = None
        self.life = Life()

    def kill(self) -> None:
        """Its fibers are the caller's to end, before anything else is done."""
        self.life.over = True
        if self.engine is not None:
            self.engine = None
            self._fall()

    def cut_power(self, kept: int) -> None:
        """As `kill`, and what was not durable yet is lost, but for so many writes."""
        rows, binding = self.store.after_power_cut(kept), self.store.binding
        self.kill()
        shutil.rmtree(self._files)
        write_anew(self._files, binding, rows)

    def reboot(self, number: int) -> None:
        self.boot_id = f"boot-{number}"

    def with_settings(self, **changes: t.Any) -> None:
        """From the next start on."""
        self._settings.update(changes)

    # -- its files, while it is down --

    def lose_journal(self) -> None:
        shutil.rmtree(self._files)

    def damage_journal(self, how: int) -> None:
        damage(self._files, how)

    def copy_journal(self, target: Path) -> None:
        copy_files(self._files, target)

    def adopt_journal(self, other: Agent) -> None:
        """The other's, as it is now."""
        shutil.rmtree(self._files)
        other.copy_journal(self._files)

    def _fall(self) -> None:
        """Leave the files as a killed process does; its locks are free."""
        old = self._files
        self._generation += 1
        copy_files(old, self._files)
        self.store.close()
        shutil.rmtree(old)
        self.life = Life()


def _access(who: str) -> dict[str, t.Any]:
    return {
        "qy_access_key_id": next(key for key, name in KEYS.items() if name == who),
        "qy_secret_access_key": SECRET,
        "host": listener().host,
        "port": listener().port,
        "protocol": "http",
        "connection_timeout": int(PATIENCE),
    }
