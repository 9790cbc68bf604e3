# SPDX-License-Identifier: GPL-3.0-or-later
"""Which NICs sit in which network namespace of the machine: for NICs that nothing else explains.

A namespace lives as long as a process, a thread, a bind mount, an open file or a socket holds it. The first three have
names in /proc. For the rest there is the kernel's own table: when a link leaves a namespace, that namespace gets a
number for the one where it goes. So parking and the host know every living namespace into which a NIC was ever moved
from there, whoever holds it. Open files are not searched: there are many more of them, and those of other users are
closed to a sandboxed agent.

Not found: a link that a container has moved on to a namespace that no process, thread or mount holds; one in a
namespace that the kernel is just taking down, from where it returns to the host; and one whose MAC was changed, where
the kernel knows no permanent one, unless it is known where it should be.
"""

from __future__ import annotations

import contextlib
import errno
import os
import struct
import typing as t
from pathlib import Path

from ..errors import LinkFailed
from ..model import PodPlace
from . import netns, spaces
from .devices import Device, everything
from .encoders import encode
from .netlink import DUMP, REQUEST, Netlink, Request, Sockets, attributes

_RTM_GETNSID: t.Final = 90
_RTGEN: t.Final = 4
_NETNSA_FD: t.Final = 3
_NETNSA_NSID: t.Final = 1
_READINGS: t.Final = 8  # at most, of what names there are


class Known(t.NamedTuple):
    """A namespace that is not searched itself, but knows others: the host's, and parking."""

    descriptor: int
    sockets: Sockets


class Sighting(t.NamedTuple):
    """`descriptor`: the namespace, the census' to close; None where it has no name by which it can be opened."""

    place: PodPlace
    descriptor: t.Optional[int]


class Census:
    """One search; a context manager for `look_for`, which holds open the namespace that it has found."""

    def __init__(self, envoy: netns.Envoy, known: t.Sequence[Known], proc: Path = spaces.PROC) -> None:
        self._envoy = envoy
        self._known = known
        self._proc = proc
        self._trouble: list[LinkFailed] = []
        self._sure: dict[str, PodPlace] = {}  # by permanent MAC
        self._likely: dict[str, list[PodPlace]] = {}  # by MAC, of links that have no permanent one
        self._placed: set[PodPlace] = set()  # those of them that look as if an agent had put them there
        self._worth_holding: t.Callable[[int, str], bool] = lambda inode, mac: False
        self._held: dict[int, int] = {}  # inode ► descriptor
        self._closing = contextlib.ExitStack()

    def __enter__(self) -> Census:
        return self

    def __exit__(self, *__: object) -> None:
        self._closing.close()

    def places(self, macs: t.Collection[str]) -> dict[str, PodPlace]:
        """Where those of these MACs are that were found; the inode is 0 of a namespace that has no name in /proc.

        `LinkFailed` where one was not found and something could not be looked into: "nowhere" might be a lie.
        """
        wanted = set(macs)
        if not wanted:
            return {}
        self._visit_named(wanted)
        if not self._found(wanted):
            self._look_by_number()
        if self._trouble and not self._found(wanted):
            first = self._trouble[0]
            # anew: what is raised holds this census by its traceback, and this census holds `first`
            raise LinkFailed(first.message, **first.details)
        both = {**{mac: places[0] for mac, places in self._likely.items()}, **self._sure}
        return {mac: both[mac] for mac in wanted & both.keys()}

    def look_for(
        self, mac: str, inode: int = 0, index: int = 0, known: t.Callable[[str], bool] = lambda mac: False
    ) -> t.Optional[Sighting]:
        """None where it is nowhere; `LinkFailed` as of `places`.

        `inode`, `index`: where it should be. They choose among links of that MAC, which some container may have forged;
        and where none has it, they witness for a link whose MAC was changed. Another namespace may have the number of
        one that has died, so that link must have come from an agent too, and be none of `known` NICs.
        """
        self._worth_holding = lambda where, seen: seen == mac or where == inode
        place = self.places([mac]).get(mac)
        if place is not None and mac not in self._sure:
            place = max(self._likely[mac], key=lambda seen: (seen.netns_inode == inode, seen.ifindex == index))
        elif place is None and inode:
            changed = [seen for other, places in self._likely.items() if not known(other) for seen in places]
            there = [seen for seen in changed if (seen.netns_inode, seen.ifindex) == (inode, index)]
            place = next((seen for seen in there if seen in self._placed), None)
        return Sighting(place, self._held.get(place.netns_inode)) if place is not None else None

    def _found(self, wanted: set[str]) -> bool:
        return wanted <= self._sure.keys() | self._likely.keys()

    # -- by their names --

    def _visit_named(self, wanted: set[str]) -> None:
        """Again where some cannot be visited: either they have ended by then, or they have names still.

        On a busy machine another one ends in each reading, so it is those that are missed twice that matter.
        """
        done = {netns.inode(place.descriptor) for place in self._known}
        before: set[int] = set()
        for _reading in range(_READINGS):
            named = spaces.Spaces(self._proc)
            astray = self._visit(named.near(), wanted, done)
            if not self._found(wanted):
                astray.update(self._visit(named.far(), wanted, done))
            missed = {inode: error for inode, error in astray.items() if inode not in done}
            if missed.keys() <= before or self._found(wanted):
                break
            before = set(missed)
        self._trouble += [*([named.trouble] if named.trouble else ()), *missed.values()]

    def _visit(self, names: t.Iterable[spaces.Name], wanted: set[str], done: set[int]) -> dict[int, LinkFailed]:
        """Until all are found for sure. By inode, what went wrong; another path may have led there all the same."""
        astray = {}
        for inode, path in names:
            if wanted <= self._sure.keys():
                break
            if inode not in done:
                try:
                    self._look_inside(inode, path)
                    done.add(inode)
                except LinkFailed as error:
                    astray[inode] = _blind(f"net:[{inode}]", error)
        return astray

    def _look_inside(self, inode: int, path: str) -> None:
        with contextlib.ExitStack() as stack:
            descriptor = netns.open_path(path)
            stack.callback(os.close, descriptor)
            if netns.inode(descriptor) != inode:
                raise LinkFailed(f"it is not at {path}", path=path)
            try:
                with contextlib.closing(self._envoy.visit(descriptor, Netlink)) as channel:
                    devices = everything(channel)
            except OSError as error:
                raise LinkFailed(f"no socket there: {error.strerror}", errno=error.errno) from error
            self._note(devices, inode)
            if any(self._worth_holding(inode, device.identity) for device in devices):
                self._held[inode] = descriptor
                self._closing.push(stack.pop_all())

    # -- by the numbers under which the host's namespace and parking know them; most have been visited already --

    def _look_by_number(self) -> None:
        for place in self._known:
            with place.sockets.lend() as channel:
                themselves = {_number_of(channel, other.descriptor) for other in self._known}
                for number in _numbers(channel):
                    if number not in themselves:
                        self._look_from(channel, number)

    def _look_from(self, channel: Netlink, number: int) -> None:
        try:
            self._note(everything(channel, number), 0)
        except LinkFailed as error:
            if error.details.get("errno") != errno.EINVAL:  # else it has ended, or is about to
                self._trouble.append(_blind(f"the network namespace of number {number}", error))

    def _note(self, devices: t.Iterable[Device], inode: int) -> None:
        for device in devices:
            if device.may_be_a_nic:
                place = PodPlace(inode, device.name, device.index)
                if device.permanent:
                    self._sure.setdefault(device.identity, place)
                else:
                    self._likely.setdefault(device.identity, []).append(place)
                    if device.announces:
                        self._placed.add(place)


def _blind(what: str, error: LinkFailed) -> LinkFailed:
    return LinkFailed(f"cannot look into {what}: {error.message}", **error.details)


def _numbers(channel: Netlink) -> list[int]:
    """Those under which the socket's namespace knows others."""
    request = Request(encode("netns id", _RTM_GETNSID, REQUEST | DUMP, {"family": 0}), "list known network namespaces")
    return [_number(body) for body in channel.dump(request)]


def _number_of(channel: Netlink, descriptor: int) -> int:
    """-1 where the socket's namespace has no number for that one."""
    request = encode("netns id", _RTM_GETNSID, REQUEST, {"family": 0}, descriptor=(_NETNSA_FD, descriptor))
    body = channel.ask(Request(request, "ask for a network namespace's number"))
    return _number(body) if body is not None else -1


def _number(body: bytes) -> int:
    (number,) = struct.unpack("=i", dict(attributes(body, _RTGEN))[_NETNSA_NSID])
    return int(number)
