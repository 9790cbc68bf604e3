# SPDX-License-Identifier: GPL-3.0-or-later
"""Sockets of other namespaces, batches with one verdict each, and the sandbox of the unit."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import textwrap
import threading
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hostnic
from hostnic import context
from hostnic.errors import LinkFailed
from hostnic.net import netns, requests
from hostnic.net.devices import everything, named
from hostnic.net.netlink import Netlink, Sockets
from tests.kernel.net_world import World, ip, own_namespace

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture
def world() -> t.Iterator[World]:
    with World() as world:
        yield world


def test_a_socket_belongs_to_the_namespace_where_it_was_made_whoever_uses_it(world: World) -> None:
    world.nic()
    channel = world.within(world.host, Netlink)
    seen: list[set[str]] = [{device.name for device in everything(channel)}]
    thread = threading.Thread(target=lambda: seen.append({device.name for device in everything(channel)}))
    thread.start()
    thread.join()
    channel.close()
    assert seen == [{"lo", "ens1"}, {"lo", "ens1"}]


def test_of_a_batch_each_message_has_its_verdict_and_the_first_refusal_is_told(world: World) -> None:
    world.nic(up=True)
    channel = world.within(world.host, Netlink)
    device = named(channel, "ens1")
    assert device
    with pytest.raises(LinkFailed) as caught:
        channel.send(
            requests.add_address(device.index, "10.1.1.1/24"),
            requests.add_address(device.index, "10.1.1.1/24"),
            requests.set_link(9999, "change a link that is not there", up=True),
            requests.add_address(device.index, "10.1.1.2/24"),
        )
    assert str(caught.value).startswith("cannot give it the address 10.1.1.1/24: File exists")
    assert caught.value.details["errno"] == errno.EEXIST
    assert [a["local"] for a in world.addresses(world.host, "ens1")] == ["10.1.1.1", "10.1.1.2"]
    # and nothing unread is left behind
    assert named(channel, "ens1") and named(channel, "absent") is None
    channel.close()


def test_the_kernels_own_explanation_is_told(world: World) -> None:
    world.nic(up=True)
    channel = world.within(world.host, Netlink)
    with pytest.raises(LinkFailed, match=r"set mtu: Invalid argument \(mtu less than device minimum\)"):
        channel.send(requests.set_link(everything(channel)[-1].index, "set mtu", mtu=10))
    channel.close()


def test_a_large_dump_is_complete(world: World) -> None:
    names = {f"b{number}" for number in range(300)}
    batch = "".join(f"link add {name} type bridge\n" for name in sorted(names))
    subprocess.run(["ip", "-n", world.host, "-batch", "-"], input=batch, text=True, check=True)
    channel = world.within(world.host, Netlink)
    assert {device.name for device in everything(channel)} == names | {"lo"}
    channel.close()


def test_sockets_are_used_again_but_not_by_two_at_once(world: World) -> None:
    envoy = netns.Envoy()
    sockets = Sockets(envoy, world.descriptor(world.host))
    with sockets.lend() as first:
        with sockets.lend() as second:
            assert first is not second
        with sockets.lend() as third:
            assert third is second
        with pytest.raises(LinkFailed), sockets.lend() as third:
            third.send(requests.set_link(9999, "fail", up=True))
        with sockets.lend() as fourth:  # a refusal does no harm
            assert fourth is third
    sockets.close()
    envoy.close()
    with pytest.raises(LinkFailed, match="closed"), sockets.lend():
        pass


def test_what_an_errand_says_is_said_of_the_work_that_sent_it(world: World) -> None:
    envoy = netns.Envoy()
    descriptor = world.descriptor(world.host)
    with context.about(request="r1"):
        assert envoy.visit(descriptor, context.current) == {"request": "r1"}
    assert envoy.visit(descriptor, context.current) == {}
    envoy.close()


def test_errands_fail_alone(world: World) -> None:
    envoy = netns.Envoy()
    descriptor = world.descriptor(world.host)

    def fail() -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        envoy.visit(descriptor, fail)
    with pytest.raises(LinkFailed, match="cannot enter"):
        envoy.visit(9999, fail)
    assert envoy.visit(descriptor, own_namespace) == os.fstat(descriptor).st_ino
    envoy.close()


def test_a_thread_that_cannot_return_never_serves_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    envoy = netns.Envoy()
    descriptor = world.descriptor(world.host)
    home = own_namespace()
    first = envoy.visit(descriptor, threading.current_thread)
    enter = netns._setns

    def only_in(target: int) -> None:
        if os.fstat(target).st_ino == home:
            raise OSError(errno.EPERM, "no way back")
        enter(target)

    monkeypatch.setattr(netns, "_setns", only_in)
    envoy.visit(descriptor, lambda: None)
    monkeypatch.undo()
    first.join(5)
    assert not first.is_alive()
    assert envoy.visit(descriptor, threading.current_thread) is not first
    assert envoy.visit(descriptor, own_namespace) == os.fstat(descriptor).st_ino
    assert own_namespace() == home
    envoy.close()


def test_a_call_s_thread_goes_itself_and_the_first_thread_sends_another(world: World) -> None:
    envoy = netns.Envoy()
    descriptor = world.descriptor(world.host)
    home = own_namespace()

    def errand() -> tuple[int, threading.Thread]:
        return own_namespace(), threading.current_thread()

    def fail() -> None:
        raise ValueError("mine")

    def call() -> tuple[tuple[int, threading.Thread], int, threading.Thread]:
        found = envoy.go(descriptor, errand)
        with pytest.raises(ValueError, match="mine"):
            envoy.go(descriptor, fail)
        with pytest.raises(LinkFailed, match="cannot enter"):
            envoy.go(9999, fail)
        return found, own_namespace(), threading.current_thread()

    with ThreadPoolExecutor(1) as pool:
        found, afterwards, thread = pool.submit(call).result()
        assert found == (os.fstat(descriptor).st_ino, thread)
        assert afterwards == home
        single = pool.submit(netns.once, world.path(world.host), errand)
        assert single.result() == (os.fstat(descriptor).st_ino, thread)
    inode, thread = envoy.go(descriptor, errand)
    assert inode == os.fstat(descriptor).st_ino and thread is not threading.current_thread()
    envoy.close()


def test_a_call_s_thread_that_cannot_return_ends_the_process(world: World) -> None:
    program = textwrap.dedent("""
        import os, sys, threading
        from hostnic.net import netns
        envoy, home, enter = netns.Envoy(), os.stat(netns.HOST).st_ino, netns._setns
        def only_in(target):
            if os.fstat(target).st_ino == home:
                raise OSError(1, "no way back")
            enter(target)
        netns._setns = only_in
        def call():
            envoy.go(int(sys.argv[1]), lambda: None)
            print("served on", flush=True)
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        """)
    descriptor = world.descriptor(world.host)
    env = {**os.environ, "PYTHONPATH": str(Path(next(iter(hostnic.__path__))).parent)}
    argv = [sys.executable, "-c", program, str(descriptor)]
    done = subprocess.run(argv, env=env, pass_fds=[descriptor], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot return from a network namespace" in done.stderr


def test_it_works_without_writable_and_executable_memory_and_with_setns_of_networks_only(world: World) -> None:
    """MemoryDenyWriteExecute=yes and RestrictNamespaces=net of the unit, rebuilt by prctl and a seccomp filter."""
    mac = world.nic()
    pod, _ = world.pod()
    package = str(Path(hostnic.__file__).parent.parent)
    script = textwrap.dedent(
        f"""
        import ctypes, mmap, os, struct, sys
        sys.path.insert(0, {package!r})
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(65, 1, 0, 0, 0): sys.exit("no PR_SET_MDWE here")
        try: mmap.mmap(-1, 4096, prot=7); sys.exit("the restriction does not work")
        except OSError: pass
        ld, jeq, ret = 0x20, 0x15, 0x06
        setns = {{"x86_64": 308, "aarch64": 268}}[os.uname().machine]
        program = [(ld, 0, 0, 0), (jeq, 0, 3, setns), (ld, 0, 0, 24), (jeq, 1, 0, 0x40000000),
                   (ret, 0, 0, 0x00050001), (ret, 0, 0, 0x7FFF0000)]
        code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
        header = struct.pack("@HP", len(program), ctypes.addressof(code))
        libc.prctl(38, 1, 0, 0, 0)
        if libc.prctl(22, 2, header, 0, 0): sys.exit("no seccomp here")
        fd = os.open({world.path(pod)!r}, os.O_RDONLY)
        if libc.setns(fd, 0) == 0: sys.exit("the filter does not work")
        from hostnic.model import PodLink
        from hostnic.net.links import KernelLinks
        links = KernelLinks({world.path(world.parking)!r}, {world.path(world.host)!r})
        links.park({mac!r})
        index = links.to_pod({mac!r}, fd, PodLink("eth0", "10.1.1.1/24")).ifindex
        print(links.in_pod({mac!r}, fd, "eth0"), links.from_pod({mac!r}, fd, "eth0", index))
        """
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    if "no PR_SET_MDWE" in done.stderr:
        pytest.skip("the kernel is older than 6.3")
    assert (done.stdout.strip(), done.stderr) == ("True True", "")


def test_a_namespace_is_told_from_other_files(tmp_path: Path) -> None:
    assert ip("netns") is not None
    for path, says in (("/proc/self/ns/mnt", "no network namespace here"), (str(tmp_path), "no network namespace")):
        with pytest.raises(LinkFailed, match=says):
            netns.open_path(path)
