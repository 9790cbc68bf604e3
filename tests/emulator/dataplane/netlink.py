# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place that talks netlink: links, addresses and routes of one namespace, with types."""

from __future__ import annotations

import contextlib
import errno
import typing as t
from types import TracebackType

from pyroute2 import IPRoute  # type: ignore[import-untyped]
from pyroute2.netlink.exceptions import NetlinkError  # type: ignore[import-untyped]

MTU: t.Final = 1500
NICS_GROUP, LEAVING_GROUP = 77, 78  # device groups: links of one are deleted in one message


class NameTaken(Exception):
    """A link of that name is there already."""


class Netlink:
    """Of a named namespace, or of the caller's own. Not locked. Raises OSError when the kernel refuses."""

    def __init__(self, netns: str | None = None) -> None:
        self._ipr = IPRoute(netns=netns) if netns else IPRoute()

    def close(self) -> None:
        self._ipr.close()

    def __enter__(self) -> Netlink:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def index(self, name: str) -> int | None:
        found = self._ipr.link_lookup(ifname=name)
        return int(found[0]) if found else None

    def add_bridge(self, name: str) -> int:
        """Up, without spanning tree or snooping: it forwards from the first frame on."""
        with _kernel_errors():
            self._ipr.link(
                "add",
                ifname=name,
                kind="bridge",
                state="up",
                mtu=MTU,
                br_stp_state=0,
                br_forward_delay=0,
                br_mcast_snooping=0,
            )
            return int(self._ipr.link_lookup(ifname=name)[0])

    def add_veth(
        self,
        name: str,
        *,
        peer: str,
        peer_netns: str | int,
        peer_mac: str | None = None,
        master: int | None = None,
        group: int = 0,
    ) -> None:
        """One message makes both ends: this one up (and on its bridge), the peer down in its namespace."""
        far: dict[str, t.Any] = {"ifname": peer, "mtu": MTU, "net_ns_fd": peer_netns}
        if peer_mac is not None:
            far["address"] = peer_mac
        near: dict[str, t.Any] = {} if master is None else {"master": master}
        with _kernel_errors():
            self._ipr.link("add", ifname=name, kind="veth", peer=far, mtu=MTU, group=group, state="up", **near)

    def delete(self, name: str) -> None:
        """Nothing happens when there is none."""
        index = self.index(name)
        if index is not None:
            with contextlib.suppress(NetlinkError):  # it may die by itself meanwhile, with its peer
                self._ipr.link("del", index=index)

    def move_to_group(self, name: str, group: int) -> None:
        index = self.index(name)
        if index is not None:
            with contextlib.suppress(NetlinkError):
                self._ipr.link("set", index=index, group=group)

    def delete_group(self, group: int) -> None:
        """All links of a group at once: one grace period of the kernel instead of one for each."""
        with contextlib.suppress(NetlinkError):  # an empty group is an error to the kernel
            self._ipr.link("del", group=group)

    def set_up(self, name: str, address: str | None = None) -> None:
        """``address`` with its prefix length."""
        with _kernel_errors():
            index = self._ipr.link_lookup(ifname=name)[0]
            if address is not None:
                plain, __, length = address.partition("/")
                self._ipr.addr("add", index=index, address=plain, prefixlen=int(length))
            self._ipr.link("set", index=index, state="up")

    def add_route(self, destination: str, gateway: str) -> None:
        with _kernel_errors():
            self._ipr.route("add", dst=destination, gateway=gateway)


@contextlib.contextmanager
def _kernel_errors() -> t.Iterator[None]:
    try:
        yield
    except NetlinkError as error:
        if error.code == errno.EEXIST:
            raise NameTaken(str(error)) from error
        raise OSError(error.code, str(error)) from error
