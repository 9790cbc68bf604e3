# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent itself costs: memory, processor time of ADDs beside that of host-device + host-local, and its start.

On the machine of namespaces (`machine`) with 60 NICs, half of them in pods for memory and start as on a busy node.

- Memory: resident, of the agent at rest, over that of a process that has imported the same modules and does nothing.
- Processor time: rounds of ADDs of both sides in turn, in the same pods. Ours is what the agent has used until it is
  at rest again, and what the processes of qingcni have; theirs what host-device has, with host-local that it starts.
  Their links are veths in a namespace of their own, so that their coming and going is nothing to the agent.
- Start: from exec to READY=1, with a journal of these NICs and leases and with one of no NIC, in turn. Each start has a
  copy of its journal and is killed once it is ready, so that all meet the same. The cloud answers at once and is the
  same for both, but ready does not wait for it; nor does it wait for what the start sets going.

Work that the kernel does later, in threads of its own, is on neither side. The emulated cloud is another process than
both. What differs from what is shipped: a pool of as many NICs as the node may have, and no rest between two pods.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import typing as t
from functools import partial
from pathlib import Path

from hostnic.store.sqlite import SqliteStore
from tests.bench.figures import Measured, Setting, compared
from tests.bench.machine import INSTANCE, STATE, Agent, Machine, at_once, isolated, run
from tests.lab import rootfs
from tests.lab.paths import CLONE

NICS: t.Final = 60
STAY: t.Final = 30  # of them, in pods
ROUND: t.Final = 25  # ADDs
REST: t.Final = 0.5  # s until what an ADD has set going is over
_QINGCNI: t.Final = Path("/run/qingcni")
_THEIRS: t.Final = "beside"  # a namespace
_BOOT_ID: t.Final = Path("/proc/sys/kernel/random/boot_id")
_CLONE_NEWNET: t.Final = 0x40000000

Samples = dict[str, list[float]]


def measure(setting: Setting) -> Measured:
    plugins = rootfs.ensure("bookworm", lambda line: None) / "usr/lib/cni"
    rounds, starts, looks = (1, 2, 2) if setting.quick else (5, 8, 5)
    words = (f"--rounds={rounds}", f"--starts={starts}", f"--looks={looks}", f"--plugins={plugins}")
    found: dict[str, Samples] = isolated("tests.bench.agent", *words)
    cpu = found["cpu"]
    figures = (
        compared("agent-memory", found["memory"]["agent"], found["memory"]["imports"], "kB"),
        compared("agent-cpu", [sum(one) for one in zip(cpu["agent"], cpu["qingcni"])], cpu["host-device"], "s"),
        compared("agent-start", found["start"]["full"], found["start"]["empty"], "ms"),
    )
    raw = {f"{what} {side}": values for what, sides in found.items() for side, values in sides.items()}
    return Measured(figures, raw, f"{NICS}, {STAY} in pods", {"ADDs in a round": ROUND})


def inside(rounds: int, starts: int, looks: int, plugins: str) -> dict[str, Samples]:
    """In namespaces of this process's own. Seconds of processor are of 1,000 ADDs."""
    with Machine(NICS, ROUND + STAY) as machine:
        agent, __ = machine.start()
        machine.fill(STAY)
        memory: Samples = {"agent": [], "imports": []}
        for __ in range(looks):
            memory["agent"].append(agent.memory())
            memory["imports"].append(agent.bare())
        cpu = _processor(agent, rounds, plugins)
        agent.stop()
        return {"memory": memory, "cpu": cpu, "start": _starts(machine, starts)}


def _processor(agent: Agent, rounds: int, plugins: str) -> Samples:
    _install_qingcni()
    _make_links()
    found: Samples = {"agent": [], "qingcni": [], "host-device": []}
    for number in range(-1, rounds):  # the first is to warm up
        before, children = agent.spent(), _children()
        at_once(partial(_ours, "ADD"), ROUND)
        children = _children() - children
        time.sleep(REST)
        spent = {"agent": agent.spent() - before, "qingcni": children}
        at_once(partial(_ours, "DEL"), ROUND)
        children = _children()
        at_once(partial(_theirs, plugins, "ADD"), ROUND, _enter)
        spent["host-device"] = _children() - children
        at_once(partial(_theirs, plugins, "DEL"), ROUND, _enter)
        if number >= 0:
            for side, seconds in spent.items():
                found[side].append(round(seconds * 1000 / ROUND, 3))
    return found


def _starts(machine: Machine, starts: int) -> Samples:
    """`STATE` is that of an agent that has been stopped."""
    empty = Path("/run/empty")
    store = SqliteStore(empty)
    store.bind(_BOOT_ID.read_text(encoding="ascii").strip(), INSTANCE)
    store.close()
    found: Samples = {"full": [], "empty": []}
    for number in range(2 * starts):
        side, state = (("full", STATE), ("empty", empty))[(number + number // 2) % 2]  # either is first as often
        copy = Path(f"/run/start{number}")
        shutil.copytree(state, copy)
        agent, seconds = machine.start(copy)
        agent.stop(signal.SIGKILL)
        found[side].append(round(seconds * 1000, 2))
    return found


# -- both sides' executables -------------------------------------------------------------------------------------------


def _install_qingcni() -> None:
    """As `hostnic_install` does: a launcher, and beside its body what the interpreter makes of that."""
    python = "/usr/bin/python3"
    body = _QINGCNI / "qingcni.py"
    _QINGCNI.mkdir()
    shutil.copy(CLONE / "files/qingcni.py", body)
    words = f"import py_compile; py_compile.compile({str(body)!r}, {str(body) + 'c'!r})"
    subprocess.run([python, "-c", words], check=True)
    launchers: t.Any = importlib.import_module("plugins.module_utils._ansible.launchers")
    launcher = _QINGCNI / "qingcni"
    launcher.write_text(launchers.cni(python, str(_QINGCNI)), encoding="utf-8")
    (_QINGCNI / "qingcni-start.py").write_text(launchers.cni_start(str(_QINGCNI)), encoding="utf-8")
    launcher.chmod(0o755)


def _make_links() -> None:
    run(f"ip netns add {_THEIRS}")
    for number in range(ROUND):
        run(f"ip -n {_THEIRS} link add nic{number} type veth peer name port{number}")
        run(f"ip -n {_THEIRS} link set port{number} up")


def _enter() -> None:
    """This thread, and what it starts."""
    descriptor = os.open(f"/run/netns/{_THEIRS}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
            raise OSError(ctypes.get_errno(), "setns")
    finally:
        os.close(descriptor)


def _ours(verb: str, pod: int) -> None:
    _call(str(_QINGCNI / "qingcni"), "/", verb, pod, {"type": "qingcni"})


def _theirs(plugins: str, verb: str, pod: int) -> None:
    subnet = {"subnet": "198.18.0.0/16", "routes": [{"dst": "0.0.0.0/0"}]}  # RFC 2544: nobody's
    ipam = {"type": "host-local", "dataDir": "/run/host-local", **subnet}
    conf = {"type": "host-device", "device": f"nic{pod}", "ipam": ipam}
    _call(f"{plugins}/host-device", plugins, verb, pod, conf)


def _call(program: str, path: str, verb: str, pod: int, conf: t.Mapping[str, t.Any]) -> None:
    environ = {
        "CNI_COMMAND": verb,
        "CNI_CONTAINERID": f"c{pod}",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": f"/run/netns/pod{pod}",
        "CNI_PATH": path,
    }
    stdin = json.dumps({"cniVersion": "1.0.0", "name": "pods", **conf}).encode()
    done = subprocess.run([program], input=stdin, env=environ, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{program} {verb}: {done.stdout.decode()} {done.stderr.decode()}")


def _children() -> float:
    """Seconds of processor of all programs that this process has started and that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.agent", description="For `measure`, see `isolated`.")
    parser.add_argument("--inside", action="store_true", required=True)
    for name in ("rounds", "starts", "looks"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--plugins", required=True)
    given = vars(parser.parse_args(argv))
    del given["inside"]
    sys.stdout.write(json.dumps(inside(**given)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
