# SPDX-License-Identifier: GPL-3.0-or-later
"""One node as all checks see it: each thing is looked at once, by whichever check comes first, and the others wait."""

from __future__ import annotations

import ipaddress
import threading
import time
import typing as t
from functools import partial
from pathlib import Path

from .. import config, probed, runtimes, wire
from ..cloud.build import connect
from ..config import Settings
from ..configuration.load import INSTANCE_ID_PATH
from ..errors import AuthFailed, HostnicError, RateLimited, Timeout, Unreachable
from ..model import GATEWAY, GATEWAY_LINKS, POOL, CloudNic, Vxnet, nic_names
from ..net import host_findings
from ..ports import Cloud, Journal
from ..states import State
from ..store import sqlite
from . import units
from .finding import CannotTell
from .reader import Reader

T = t.TypeVar("T")
CONFIGURATION: t.Final = config.DIRECTORY
ANSWER: t.Final = 4.0  # s that the agent, and each try of a call, may take: a check has more
# where systemd keeps what the unit is given by LoadCredential=
_OF_THE_UNIT: t.Final = {"CREDENTIALS_DIRECTORY": f"/run/credentials/{units.AGENT}"}
# These have a link and stay where they are.
SETTLED: t.Final = (State.READY, State.QUARANTINE, State.HELD, State.IN_USE, State.GATEWAY)

# (socket, op) ► the agent's answer. Raises `HostnicError`.
Ask = t.Callable[[str, str], t.Any]


class Once(t.Generic[T]):
    """What `make` returned or raised the first time. Any thread may call."""

    def __init__(self, make: t.Callable[[], T]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._outcome: t.Optional[tuple[t.Optional[T], t.Optional[Exception]]] = None

    def __call__(self) -> T:
        with self._lock:
            if self._outcome is None:
                try:
                    self._outcome = self._make(), None
                except Exception as error:
                    self._outcome = None, error
            made, raised = self._outcome
        if raised is not None:
            raise raised
        return t.cast(T, made)


class Told(t.NamedTuple):
    """The settings, and where each is from."""

    settings: Settings
    origins: t.Mapping[str, str]


def ask_cloud(told: Told, answer: float = ANSWER) -> Cloud:
    """With the agent's own client, but little patience; nothing is sent yet. Raises `InvalidConfig`."""
    hurry = {"connection_timeout": answer, "connection_retries": 1}
    return connect(told.settings, origins=told.origins, overrides=hurry, patience=0.75 * answer)


class Patient:
    """Attributes that can be called look; they raise `HostnicError` where they cannot."""

    def __init__(
        self,
        reader: Reader,
        told: t.Callable[[], Told],
        ask: Ask,
        cloud: t.Callable[[Told], Cloud] = ask_cloud,
        wall: t.Callable[[], float] = time.time,
        monotonic: t.Callable[[], float] = time.monotonic,
    ) -> None:
        self.reader = reader
        self.wall = wall
        self.monotonic = monotonic
        self._ask = ask
        self.told = Once(told)
        self.units = Once(lambda: units.look(reader.run))
        self.instance_id = Once(lambda: config.instance_id(reader.at(INSTANCE_ID_PATH)))
        self.journal: Once[Journal] = Once(lambda: sqlite.read(reader.at(self.settings.statedir)))
        self.chains = Once(lambda: host_findings.nft(("list", "chains"), reader.run))
        self.surroundings = Once(lambda: runtimes.find("", reader.output, reader.root))
        self.cloud: Once[Cloud] = Once(lambda: cloud(self.told()))
        self.attached = Once(lambda: self.cloud().describe_nics(instance_id=self.instance_id()))
        self.detaching = Once(lambda: self._reached().being_detached())
        self.vxnets = Once(self._vxnets)
        self.named = Once(self._named)
        self._answers = {
            op: Once(partial(self._answer, op)) for op in ("ping", "version", "settings", "explain", "pool")
        }

    @property
    def settings(self) -> Settings:
        """Raises `InvalidConfig`."""
        return self.told().settings

    @property
    def socket(self) -> str:
        return str(self.reader.at(f"{self.settings.rundir}/qingagent.sock"))

    def answer(self, op: str) -> t.Any:
        """The agent's. Raises `CannotTell` where it does not run, and what `wire.ask` raises."""
        return self._answers[op]()

    def fresh(self, op: str) -> t.Any:
        """Asked anew."""
        return self._answer(op)

    def _answer(self, op: str) -> t.Any:
        """An agent that is not there is not asked: its socket would start it. Without systemd none is held for it."""
        try:
            found = self.units()
        except CannotTell:
            found = {}
        if units.installed(found) and not found[units.AGENT].active:
            raise CannotTell("the agent does not run")
        return self._ask(self.socket, op)

    def runs(self) -> bool:
        try:
            self.answer("ping")
        except HostnicError:
            return False
        return True

    # -- the pool, as the agent knows it, or as it has left it ------------------------------------------------------

    def nics(self) -> dict[str, State]:
        """NIC ► state."""
        if self.runs():
            return {nic["nic_id"]: State(nic["state"]) for nic in self.answer("pool")}
        return {nic.nic_id: nic.state for nic in self.journal().nics}

    def settled(self) -> set[str]:
        """NICs that have a link and stay where they are."""
        return {nic_id for nic_id, state in self.nics().items() if state in SETTLED}

    def gateways(self) -> list[str]:
        """The host's links that are pods' gateway: NICs of ours, and its own ones that lie among pods."""
        ours = sorted(name for name in self.reader.host.macs() if name.startswith(GATEWAY_LINKS))
        known = [vxnet for vxnet in self.journal().vxnets if vxnet.vxnet_id in self.settings.vxnet]
        addresses = [ipaddress.IPv4Address(vxnet.host_address) for vxnet in known if vxnet.host_address]
        near = [route for route in self.reader.routes() if not route.by_router and route.network.prefixlen]
        own = {route.link for route in near if any(address in route.network for address in addresses)}
        return [*ours, *sorted(own - set(ours))]

    # -- the cloud ---------------------------------------------------------------------------------------------------

    def _reached(self) -> Cloud:
        """Raises what stands for all calls: one that does not answer, or knows no such key, is asked once."""
        try:
            self.attached()
        except (Unreachable, Timeout, AuthFailed, RateLimited):
            raise
        except HostnicError:  # of this call alone
            pass
        return self.cloud()

    def _vxnets(self) -> dict[str, Vxnet]:
        return {vxnet.vxnet_id: vxnet for vxnet in self._reached().describe_vxnets(self.settings.vxnet)}

    def _named(self) -> list[CloudNic]:
        """NICs of our name, wherever they are."""
        names = nic_names(self.instance_id(), self.settings.gatewayns)
        return [nic for purpose in (POOL, GATEWAY) for nic in self._reached().describe_nics(name=names[purpose])]


def load(config_path: t.Optional[Path], environ: t.Mapping[str, str]) -> Told:
    """As the service does, whatever directory this is called in. Raises `InvalidConfig`."""
    settings, origins = config.load({}, {**_OF_THE_UNIT, **environ}, CONFIGURATION, config_path)
    return Told(probed.read(Path(CONFIGURATION) / "probe.json").fitted(settings, origins), origins)


def of_this_node(config_path: t.Optional[Path], environ: t.Mapping[str, str]) -> Patient:
    """Nothing is looked at yet."""
    return Patient(Reader(), lambda: load(config_path, environ), lambda path, op: wire.ask(path, op, timeout=ANSWER))
