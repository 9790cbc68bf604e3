# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool of a node whose agent does not run: put to work in this process, or only as its journal tells it."""

from __future__ import annotations

import typing as t
from pathlib import Path

from ..hostnic import config, wire
from ..hostnic.agent.degradation import Degradation
from ..hostnic.agent.systemd import boot_id
from ..hostnic.cloud.build import connect
from ..hostnic.config import Settings
from ..hostnic.configuration.files import find
from ..hostnic.engine import Engine
from ..hostnic.errors import InvalidConfig
from ..hostnic.model import GATEWAY, Link
from ..hostnic.net.guard import ManagerGuard
from ..hostnic.net.links import KernelLinks
from ..hostnic.ports import Cloud, Journal, Links
from ..hostnic.states import State
from ..hostnic.store.memory import MemoryStore
from ..hostnic.store.sqlite import SqliteStore, read


def engine(configuration: str, instance_id_path: str, works: bool) -> Engine:
    """`configuration`: the directory of the agent's file. `works`: see `_working`, else `_standing`.

    Raises `InvalidConfig` where this node has no agent's configuration.
    """
    if find(configuration) is None:
        raise InvalidConfig(f"there is no configuration of an agent in {configuration}: roll the agent out first")
    settings, origins = config.load({}, {}, configuration)
    instance_id = config.instance_id(instance_id_path)
    return _working(settings, origins, instance_id) if works else _standing(settings, instance_id)


def _working(settings: Settings, origins: t.Mapping[str, str], instance_id: str) -> Engine:
    """As an agent would run it: whoever has it calls `reconciler.step`, and `close` in the end.

    Raises `StoreLocked` where an agent runs all the same, `LinkFailed` without the netns in which NICs wait.
    """
    store = SqliteStore(settings.statedir)
    try:
        cloud, links = connect(settings, origins=origins), KernelLinks()
        return Engine(
            settings, instance_id, boot_id(), cloud, links, ManagerGuard(), store, wire.boottime,
            level=Degradation(settings),
        )  # fmt: skip
    except BaseException:
        store.close()
        raise


def _standing(settings: Settings, instance_id: str) -> Engine:
    """As the journal tells it, which stays as it is; for questions and previews, never for a step. `StoreFailed`."""
    journal = read(Path(settings.statedir))
    store = MemoryStore()
    store.bind(*journal.binding)
    store.write(put=(*journal.nics, *journal.leases, *journal.intents, *journal.vxnets, *journal.facts))
    links, cloud = t.cast(Links, _AsWritten(journal)), t.cast(Cloud, _Unasked())
    return Engine(
        settings, instance_id, boot_id(), cloud, links, _Unguarded(), store, wire.boottime, level=Degradation(settings)
    )


class _AsWritten:
    """`ports.Links` of a machine on which every link is where the journal believes it."""

    def __init__(self, journal: Journal) -> None:
        parked = (State.READY, State.QUARANTINE, State.HELD, State.DRAINING, State.DETACHING, State.GATEWAY)
        self._links = [
            Link(nic.nic_id, nic.nic_id, 0, "host" if nic.purpose == GATEWAY else "parking")
            for nic in journal.nics
            if nic.state in parked
        ]

    def list(self) -> t.Sequence[Link]:
        return self._links

    def in_netns(self, macs: t.Collection[str]) -> dict[str, t.Any]:
        return {}

    def flush(self, address: str) -> None:
        """Nothing is in the way of a preview."""


class _Unasked:
    """`ports.Cloud` as far as it answers without a call."""

    def state(self) -> dict[str, t.Any]:
        return {"asked": False}


class _Unguarded:
    """`ports.Guard` that tells nobody."""

    def protect(self, macs: t.Iterable[str]) -> None:
        """What is there is protected already."""
