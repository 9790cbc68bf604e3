# SPDX-License-Identifier: GPL-3.0-or-later
"""Where NICs are that nothing explains: whatever it is that keeps their namespace alive."""

from __future__ import annotations

import contextlib
import gc
import itertools
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import typing as t
import weakref
from pathlib import Path

import pytest

import hostnic
from hostnic.errors import LinkFailed
from hostnic.model import PodPlace
from hostnic.net import census, netns
from hostnic.net.census import Census, Known
from hostnic.net.devices import Device, everything
from hostnic.net.netlink import Netlink
from hostnic.net.spaces import Spaces
from tests.kernel.lost import Lost, look_past_a_closed_first_process, unique
from tests.kernel.net_world import World, ip, until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> t.Iterator[World]:
    look_past_a_closed_first_process(monkeypatch)
    with World() as world:
        yield world


@pytest.fixture
def lost(world: World) -> Lost:
    return Lost(world)


def found(lost: Lost) -> dict[str, PodPlace]:
    return lost.world.links.in_netns([lost.mac])


# -- what keeps a namespace alive --


def test_a_bind_mount(lost: Lost) -> None:
    lost.world.let_go(lost.descriptor)
    assert found(lost) == {lost.mac: lost.place}


def test_a_process(lost: Lost) -> None:
    with lost.held_by_a_process():
        assert found(lost) == {lost.mac: lost.place}
    assert until(lambda: not found(lost))


def test_a_thread_of_a_process_that_is_elsewhere(lost: Lost) -> None:
    inside, over = threading.Event(), threading.Event()

    def stay() -> None:
        netns._setns(lost.descriptor)
        inside.set()
        over.wait(30)

    thread = threading.Thread(target=stay)
    thread.start()
    try:
        assert inside.wait(5)
        lost.unbind()
        assert found(lost) == {lost.mac: lost.place}
    finally:
        over.set()
        thread.join()


def test_a_mount_in_another_mount_namespace(lost: Lost, tmp_path: Path) -> None:
    target = tmp_path / "with a blank \\ and more"
    with lost.bound_elsewhere(target):
        assert target.stat().st_size == 0 and found(lost) == {lost.mac: lost.place}


@pytest.mark.parametrize("parked", [True, False])
def test_an_open_file_or_a_socket_however_the_nic_came_there(world: World, parked: bool) -> None:
    lost = Lost(world)
    if not parked:  # moved by another program, from the host
        world.links.from_pod(lost.mac, lost.descriptor, "eth0", lost.index)
        parking = str(world.show(world.parking).popitem()[0])
        ip("-n", world.parking, "link", "set", parking, "netns", world.host)
        lost.unbind()
        lost.pod, lost.descriptor = world.pod("second")
        ip("-n", world.host, "link", "set", parking, "netns", lost.pod, "name", "eth0")
    kept = world.within(lost.pod, socket.socket)
    lost.unbind()
    try:
        place = found(lost)[lost.mac]
        assert (place.netns_inode, place.ifname) == (0, "eth0")
    finally:
        kept.close()
    assert until(lambda: not found(lost))


def test_what_lies_in_the_host_or_in_parking_is_in_no_pod(lost: Lost) -> None:
    world = lost.world
    other, third = unique(), unique()
    world.nic(2, mac=other)
    world.nic(3, mac=third)
    world.links.park(third)
    assert world.links.in_netns([lost.mac, other, third, "52:54:9f:00:00:00"]) == {lost.mac: lost.place}
    assert world.links.in_netns([]) == {}


def test_a_sandbox_hides_nothing(lost: Lost) -> None:
    """As ProtectSystem=, PrivateTmp= and the like give the agent a mount namespace of its own."""
    lost.world.let_go(lost.descriptor)
    package = str(Path(hostnic.__file__).parent.parent)
    paths = [f"/proc/1/root{lost.world.path(name)}" for name in (lost.world.parking, lost.world.host)]
    script = textwrap.dedent(
        f"""
        import os, sys
        sys.path.insert(0, {package!r})
        from hostnic.net.links import KernelLinks
        if os.path.exists({lost.world.path(lost.pod)!r}): sys.exit("nothing is hidden")
        print(KernelLinks(*{paths!r}).in_netns([{lost.mac!r}]))
        """
    )
    # the first process of a PID namespace of its own sees /run/netns, its child does not
    hide = 'mount --make-rprivate / && mount -t tmpfs none /run && exec "$@"'
    first = ["unshare", "-p", "-f", "-m", "--mount-proc", "sh", "-c", 'unshare -m sh -c "$0" "$@" && :', hide, "sh"]
    command = [*first, sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout.strip(), done.stderr) == (str({lost.mac: lost.place}), "")


# -- whose it is --


def test_a_permanent_mac_beats_one_that_was_set(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container may call a veth of its own by the MAC of another one's NIC."""
    before, _ = world.pod("before")
    lost = Lost(world)
    for pod in (before, world.pod("after")[0]):
        ip("-n", pod, "link", "add", "forged", "address", lost.mac, "type", "veth", "peer", "name", "x")

    def with_permanent(channel: Netlink, nsid: t.Optional[int] = None) -> list[Device]:
        return [
            Device(**{**vars(device), "permanent": lost.mac, "mac": "02:00:00:00:00:99"})
            if (device.name, device.mac) == ("eth0", lost.mac)
            else device
            for device in everything(channel, nsid)
        ]

    monkeypatch.setattr(census, "everything", with_permanent)
    assert world.links.in_netns([lost.mac]) == {lost.mac: lost.place}
    assert world.links.in_netns(["02:00:00:00:00:99"]) == {}


def test_bridges_and_macvlans_with_its_mac_are_not_it(world: World) -> None:
    mac = unique()
    pod, _ = world.pod()
    ip("-n", pod, "link", "add", "br0", "address", mac, "type", "bridge")
    assert world.links.in_netns([mac]) == {}


# -- honesty --


def _searched(world: World, proc: Path, macs: t.Collection[str]) -> dict[str, PodPlace]:
    links = world.links
    known = (Known(links._host_fd, links._host), Known(links._parking_fd, links._parking.sockets))
    return Census(links._envoy, known, proc).places(macs)


def _process(proc: Path, number: int, space: str) -> Path:
    process = proc / str(number)
    (process / "task" / str(number) / "ns").mkdir(parents=True)
    (process / "ns").mkdir()
    (process / "task" / str(number) / "ns/net").symlink_to(space)
    (process / "ns/mnt").symlink_to("mnt:[1]")
    (process / "mountinfo").touch()
    return process


def test_a_namespace_that_is_named_but_not_there_is_told_unless_all_were_found(lost: Lost, tmp_path: Path) -> None:
    absent = "52:54:9f:00:00:00"
    _process(tmp_path, 7, "net:[77]")
    assert _searched(lost.world, tmp_path, [lost.mac]) == {lost.mac: PodPlace(0, "eth0", lost.index)}
    with pytest.raises(LinkFailed, match=r"cannot look into net:\[77\]: cannot open .*/7/task/7/ns/net: No such"):
        _searched(lost.world, tmp_path, [lost.mac, absent])


def test_of_several_paths_one_that_leads_there_will_do(lost: Lost, tmp_path: Path) -> None:
    _process(tmp_path, 7, f"net:[{lost.inode}]")
    process = _process(tmp_path, 8, f"net:[{lost.inode}]")
    (process / "ns/mnt").unlink()
    (process / "ns/mnt").symlink_to("mnt:[2]")
    mount = f"1 1 0:4 net:[{lost.inode}] {lost.world.path(lost.pod)} rw shared:1 - nsfs nsfs rw"
    (process / "mountinfo").write_text(f"{mount}\n")
    (process / "root").symlink_to("/")
    assert _searched(lost.world, tmp_path, [lost.mac, "52:54:9f:00:00:00"]) == {lost.mac: lost.place}


def test_a_path_that_leads_to_another_namespace_is_told(lost: Lost, tmp_path: Path) -> None:
    """As where something else was mounted over it."""
    process = _process(tmp_path, 7, "net:[77]")
    (process / "task/7/ns/net:[77]").symlink_to(lost.world.path(lost.pod))
    with pytest.raises(LinkFailed, match=r"cannot look into net:\[77\]: it is not at .*/7/task/7/ns/net"):
        _searched(lost.world, tmp_path, ["52:54:9f:00:00:00"])


def test_what_has_ended_when_it_is_looked_for_again_is_nothing_to_tell(
    lost: Lost, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = Spaces.near
    first = iter([(77, "/proc/0/ns/net")])
    monkeypatch.setattr(Spaces, "near", lambda self: itertools.chain(first, near(self)))
    assert lost.world.links.in_netns([lost.mac, "52:54:9f:00:00:00"]) == {lost.mac: lost.place}


def test_on_a_busy_machine_another_one_has_ended_each_time(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    near = Spaces.near
    ended = itertools.islice(itertools.count(77), 3)

    def busy(self: Spaces) -> t.Iterator[tuple[int, str]]:
        return itertools.chain(((inode, "/proc/0/ns/net") for inode in itertools.islice(ended, 1)), near(self))

    monkeypatch.setattr(Spaces, "near", busy)
    assert lost.world.links.in_netns([lost.mac, "52:54:9f:00:00:00"]) == {lost.mac: lost.place}
    assert not list(ended)


def test_what_cannot_be_read_is_told_unless_all_were_found(lost: Lost, tmp_path: Path) -> None:
    process = _process(tmp_path, 7, "net:[77]")
    (process / "task/7/ns/net").unlink()
    (process / "task/7/ns/net").mkdir()
    assert _searched(lost.world, tmp_path, [lost.mac]) == {lost.mac: PodPlace(0, "eth0", lost.index)}
    with pytest.raises(LinkFailed, match="cannot look into .*/7/task/7/ns/net: Invalid argument"):
        _searched(lost.world, tmp_path, ["52:54:9f:00:00:00"])
    assert _searched(lost.world, tmp_path, []) == {}


def test_a_search_in_vain_leaves_nothing_for_the_garbage_collector(lost: Lost, tmp_path: Path) -> None:
    (_process(tmp_path, 7, "net:[77]") / "task/7/ns/net").unlink()
    (tmp_path / "7/task/7/ns/net").mkdir()
    links = lost.world.links
    search = Census(links._envoy, (Known(links._host_fd, links._host),), tmp_path)
    ended = weakref.ref(search)
    gc.disable()
    try:
        with pytest.raises(LinkFailed, match="cannot look into"):
            search.places(["52:54:9f:00:00:00"])
        del search
        assert ended() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("refused", ["open", "enter", "make a socket", "list", "list by number"])
def test_a_namespace_that_does_not_let_us_in_is_told(lost: Lost, refused: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: t.Any) -> t.NoReturn:
        raise LinkFailed("no: Operation not permitted", errno=1)

    def refuse_by_number(channel: Netlink, nsid: t.Optional[int] = None) -> list[Device]:
        return refuse() if nsid is not None else everything(channel)

    def no_socket() -> t.NoReturn:
        raise OSError(1, "no: Operation not permitted")

    if refused == "open":
        monkeypatch.setattr(netns, "open_path", refuse)
    elif refused == "make a socket":
        monkeypatch.setattr(census, "Netlink", no_socket)
    elif refused == "enter":
        visit = lost.world.links._envoy.visit
        monkeypatch.setattr(
            lost.world.links._envoy, "visit", lambda fd, errand: refuse() if errand is Netlink else visit(fd, errand)
        )
    else:
        monkeypatch.setattr(census, "everything", refuse if refused == "list" else refuse_by_number)
    with pytest.raises(LinkFailed, match="cannot look into .*no: Operation not permitted"):
        lost.world.links.in_netns(["52:54:9f:00:00:00"])


def test_a_namespace_that_is_ending_is_nothing_to_tell(lost: Lost, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = census._numbers
    monkeypatch.setattr(census, "_numbers", lambda channel: [12345, *numbers(channel)])
    assert lost.world.links.in_netns(["52:54:9f:00:00:00"]) == {}


def test_a_process_that_has_ended_and_that_nobody_has_waited_for_is_nothing_to_tell(lost: Lost) -> None:
    with subprocess.Popen(["true"]) as process:
        stat = Path(f"/proc/{process.pid}/stat")
        assert until(lambda: ") Z " in stat.read_text())
        assert lost.world.links.in_netns(["52:54:9f:00:00:00"]) == {}
        assert ") Z " in stat.read_text()


@pytest.mark.skipif(not shutil.which("setpriv"), reason="needs setpriv")
def test_without_the_right_to_look_into_processes_it_says_so(lost: Lost) -> None:
    package = str(Path(hostnic.__file__).parent.parent)
    script = textwrap.dedent(
        f"""
        import sys
        sys.path.insert(0, {package!r})
        from hostnic.net.links import KernelLinks
        links = KernelLinks({lost.world.path(lost.world.parking)!r}, {lost.world.path(lost.world.host)!r})
        try: print(links.in_netns(["52:54:9f:00:00:00"]))
        except Exception as error: print(error)
        """
    )
    command = ["setpriv", "--bounding-set=-sys_ptrace", sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "cannot look into /proc/1/task/1/ns/net: Permission denied\n"


def test_descriptors_are_given_back(lost: Lost) -> None:
    found(lost)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        found(lost)
        with contextlib.suppress(LinkFailed):  # others on this machine make and end namespaces meanwhile
            lost.world.links.in_netns(["52:54:9f:00:00:00"])
    assert len(list(Path("/proc/self/fd").iterdir())) == before
