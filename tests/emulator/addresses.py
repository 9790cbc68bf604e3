# SPDX-License-Identifier: GPL-3.0-or-later
"""Which private IPs a vxnet has to give: of a /24 the manager holds .1, DHCP spans .2-.254, 252 are for NICs."""

from __future__ import annotations

import random
import typing as t
from ipaddress import IPv4Address, IPv4Network

from tests.emulator.errors import ApiError, EmulatorError
from tests.emulator.settings import Settings


class AddressBook:
    """Not locked: the cloud's lock is held by whoever calls."""

    def __init__(self, network: str, manager: str | None, rng: random.Random) -> None:
        try:
            self.network = IPv4Network(network)
            self.manager = IPv4Address(manager) if manager else self.network[1]
        except ValueError as error:
            raise EmulatorError(f"ip_network {network!r}, manager_ip {manager!r}: {error}") from error
        if self.network.prefixlen > 29:
            raise EmulatorError(f"ip_network {network!r} is too small for a vxnet")
        if self.manager not in self.network:
            raise EmulatorError(f"manager_ip {self.manager} lies outside {network}")
        self.dyn_start = self.network[2]
        self.dyn_end = self.network[-2]
        self._rng = rng
        self._used: set[int] = set()
        self._free_from: dict[int, float] = {}
        self._last = int(self.dyn_start) - 1

    def take(self, wanted: str | None, settings: Settings, now: float) -> str:
        """An address, or the one asked for."""
        address = self._next(settings, now) if wanted is None else self._asked(wanted, settings)
        if address is None:
            raise ApiError(settings.vxnet_full_code, f"no free private ip left in network [{self.network}]")
        self._used.add(address)
        self._last = address
        return str(IPv4Address(address))

    def check(self, wanted: t.Sequence[str], settings: Settings) -> None:
        """Raise what ``take`` would, for several at once."""
        seen = [self._asked(address, settings) for address in wanted]
        if len(set(seen)) != len(seen):
            raise ApiError(settings.duplicate_private_ip_code, "a private ip is asked for twice")

    def give_back(self, address: str | None, settings: Settings, now: float) -> None:
        if address is not None:
            number = int(IPv4Address(address))
            self._used.discard(number)
            self._free_from[number] = now + settings.address_reuse_delay

    def claim(self, address: str) -> None:
        """Take an address when a world is built."""
        number = int(IPv4Address(address))
        if number in self._used or IPv4Address(number) not in self.network:
            raise EmulatorError(f"address {address} is taken, or lies outside {self.network}")
        self._used.add(number)

    def left(self, settings: Settings, now: float) -> int:
        """How many a CreateNics could still get."""
        return sum(1 for __ in self._candidates(settings, now))

    def available_ip_count(self, settings: Settings, now: float) -> int:
        if settings.available_ip_count == "allocatable":
            return self.left(settings, now)
        return int(self.dyn_end) - int(self.dyn_start) + 1 - len(self._used)

    def _candidates(self, settings: Settings, now: float) -> t.Iterator[int]:
        manager = int(self.manager)
        for number in range(int(self.dyn_start), int(self.dyn_end) + 1 - settings.reserved_addresses):
            if number != manager and number not in self._used and self._free_from.get(number, now) <= now:
                yield number

    def _next(self, settings: Settings, now: float) -> int | None:
        if settings.address_order == "lowest":
            return next(self._candidates(settings, now), None)
        free = list(self._candidates(settings, now))
        if not free:
            return None
        if settings.address_order == "highest":
            return free[-1]
        if settings.address_order == "random":
            return self._rng.choice(free)
        return next((number for number in free if number > self._last), free[0])

    def _asked(self, wanted: str, settings: Settings) -> int:
        try:
            address = IPv4Address(wanted)
        except ValueError:
            raise ApiError(settings.bad_private_ip_code, f"private ip [{wanted}] is badly formed") from None
        last = int(self.dyn_end) - settings.reserved_addresses
        if address == self.manager or not int(self.dyn_start) <= int(address) <= last:
            raise ApiError(settings.bad_private_ip_code, f"private ip [{wanted}] is not in [{self.network}]")
        if int(address) in self._used:
            raise ApiError(settings.duplicate_private_ip_code, f"private ip [{wanted}] is already in use")
        return int(address)
