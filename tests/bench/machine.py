# SPDX-License-Identifier: GPL-3.0-or-later
"""A machine that is a few namespaces, with the real agent on it: the instance of an emulated cloud.

The emulated cloud's links are in these namespaces and move between them. The agent runs with what its unit puts into
its environment, and with the settings of a full pool; calls come over its socket, with a descriptor, as qingcni's.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

from hostnic import wire
from tests.emulator import Emulator
from tests.emulator import Settings as CloudSettings
from tests.emulator.dataplane.netns import NetnsDataPlane
from tests.lab.paths import CLONE
from tests.lab.wait import until

CALLERS: t.Final = 4  # at once
INSTANCE: t.Final = "i-0a1b2c3d"
STATE: t.Final = Path("/run/state")
_KEY, _SECRET = "QYACCESSKEYIDEXAMPLE", "SECRETACCESSKEY"
_VXNET: t.Final = "vxnet-pods001"
_WORLD: t.Final = {
    "zone": "lab1",
    "access_keys": [{"access_key_id": _KEY, "secret_access_key": _SECRET, "owner": "usr-test0001"}],
    "routers": [{"router_id": "rtr-test0001", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [
        {"vxnet_id": "vxnet-nodes01", "ip_network": "172.16.0.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
        {"vxnet_id": _VXNET, "ip_network": "172.16.1.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
    ],
    "instances": [{"instance_id": INSTANCE, "netns": "node1", "primary": {"vxnet_id": "vxnet-nodes01"}}],
}
_UNIT: t.Final = CLONE / "files/units/qingagent.service"
_READY: t.Final = "/run/ready"
_LAST_LOOKS: t.Final = 10.0  # s in which an agent looks at what its pool's growth has left
_MODULES: t.Final = Path("/run/modules")
_AGENT: t.Final = """
import signal, sys
from pathlib import Path
from hostnic.commands import cli
signal.signal(signal.SIGUSR1, lambda *__: Path(sys.argv[1]).write_text("\\n".join(sys.modules)))
sys.exit(cli.main(sys.argv[2:]))
"""
_IMPORTS: t.Final = """
import importlib, sys
from pathlib import Path
from hostnic.net.lean import modules_of
with modules_of("pyroute2"):  # as the agent has it: without what it would import besides
    for name in Path(sys.argv[1]).read_text().split():
        if name != "__main__":
            try:
                importlib.import_module(name)
            except ImportError:
                pass
print("ready", flush=True)
sys.stdin.read()
"""


class Agent:
    """A running one."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.pid = process.pid
        # clock_getcpuclockid(3): of all threads of that process, those that have ended too
        self._clock = (~self.pid << 3) | 2

    def memory(self) -> int:
        """Resident, in kB."""
        return resident(self.pid)

    def spent(self) -> float:
        """Seconds of processor, those of the programs that it has run included."""
        children = sum(int(field) for field in _stat(self.pid)[13:15]) / os.sysconf("SC_CLK_TCK")
        return time.clock_gettime(self._clock) + children

    def cpu(self, seconds: float) -> float:
        """Its share of a processor for so long from now on."""
        before, began = self.spent(), time.monotonic()
        time.sleep(seconds)
        return (self.spent() - before) / (time.monotonic() - began)

    def bare(self) -> int:
        """Memory of a process that imports what the agent has imported by now."""
        _MODULES.unlink(missing_ok=True)
        os.kill(self.pid, signal.SIGUSR1)
        until(_MODULES.exists, 30, "the list of what the agent has imported")
        command = [sys.executable, "-c", _IMPORTS, str(_MODULES)]
        with subprocess.Popen(command, env=environ(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            t.cast("t.IO[bytes]", process.stdout).readline()
            found = resident(process.pid)
            t.cast("t.IO[bytes]", process.stdin).close()
        return found

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Returns once it is gone."""
        self.process.send_signal(number)
        self.process.wait(60)


class Machine:
    """This process, in namespaces of its own, see `isolated`; for `with`. It has `pods` network namespaces for pods."""

    def __init__(self, nics: int, pods: int) -> None:
        self._nics = nics
        self._pods = pods
        self._iface = ""
        self._ready: queue.SimpleQueue[float] = queue.SimpleQueue()  # when an agent said so
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> Machine:
        with self._stack:
            self._set_up()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        run("umount --all --types nsfs")  # of others: below a mount of ours they would be names that lead nowhere
        run("mount -t tmpfs tmpfs /run")
        for directory in ("/run/netns", "/run/etc", "/run/work", "/run/qingagent"):
            Path(directory).mkdir(mode=0o700)
        run("mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work /etc")
        run("ip link set lo up")
        run("ip netns add qingagent")
        run(f"ip netns attach node1 {os.getpid()}")
        dataplane = NetnsDataPlane(f"ib{os.getpid() % 100000}")
        emulator = Emulator(CloudSettings(), world=_WORLD, dataplane=dataplane)
        emulator.start()
        self._stack.callback(emulator.stop)
        host, __, port = emulator.url.removeprefix("http://").partition(":")
        _write(Path("/etc/qingcloud/instance-id"), INSTANCE)
        access = {"qy_access_key_id": _KEY, "qy_secret_access_key": _SECRET, "host": host, "port": int(port)}
        _write(Path("/etc/qingcloud/client.yaml"), yaml.safe_dump({**access, "protocol": "http"}))
        links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
        self._iface = next(link["ifname"] for link in links if link["ifname"] != "lo")
        for number in range(self._pods):
            run(f"ip netns add pod{number}")
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        told.bind(_READY)
        threading.Thread(target=self._listen, args=(told,), daemon=True).start()

    def _listen(self, told: socket.socket) -> None:
        """As systemd does, for ever: an agent that nobody listens to would wait."""
        while True:
            if told.recv(4096) == b"READY=1":
                self._ready.put(time.monotonic())

    def start(self, statedir: Path = STATE) -> tuple[Agent, float]:
        """An agent, and the seconds from its exec until it has said READY=1."""
        flags = {
            "vxnet": _VXNET, "zone": "lab1", "iface": self._iface, "statedir": statedir, "pool-low": self._nics,
            "pool-high": self._nics, "max-nics": self._nics, "quarantine": "0s", "quarantine-min": "0s",
            "api-rate": "50/s", "loglevel": "warn",
        }  # fmt: skip
        words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
        # it must not outlive this process, whose cloud and namespaces are all that it has
        command = ["setpriv", "--pdeathsig", "KILL", sys.executable, "-c", _AGENT, str(_MODULES), "start", *words]
        began = time.monotonic()
        process = subprocess.Popen(command, env={**environ(), "NOTIFY_SOCKET": _READY}, cwd="/run")
        self._stack.callback(_end, process)
        return Agent(process), self._ready.get(timeout=60) - began

    def fill(self, stays: int) -> None:
        """Returns once all NICs are ready, so many of them in the last pods, where they stay, and the agent at rest."""
        until(lambda: self.states() == {"READY": self._nics}, 300, f"{self._nics} NICs that are ready")
        for number in range(stays):
            call("ADD", f"stays{number}", self._pods - 1 - number)
        time.sleep(_LAST_LOOKS)

    def states(self) -> dict[str, int]:
        """How many NICs are in which."""
        counts: dict[str, int] = {}
        for nic in wire.ask(wire.SOCKET, "pool"):
            counts[nic["state"]] = counts.get(nic["state"], 0) + 1
        return counts


def isolated(module: str, *words: str) -> t.Any:
    """What that module's `main` writes with `--inside` and these words, in namespaces of its own: JSON.

    Raises `CalledProcessError`.
    """
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, "-m", module, "--inside"]
    done = subprocess.run([*command, *words], cwd=CLONE, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def environ() -> dict[str, str]:
    """What the agent's unit puts into its environment, and where this clone's package is."""
    lines = _UNIT.read_text(encoding="utf-8").splitlines()
    unit = dict(line.removeprefix("Environment=").split("=", 1) for line in lines if line.startswith("Environment="))
    return {**os.environ, **unit, "PYTHONPATH": str(CLONE / "plugins/module_utils")}


def at_once(work: t.Callable[[int], object], count: int, before: t.Callable[[], object] = lambda: None) -> None:
    """This work with each number below `count`, by several callers, of whom each does something `before`."""

    def several(caller: int) -> None:
        before()
        for number in range(caller, count, CALLERS):
            work(number)

    with ThreadPoolExecutor(CALLERS) as pool:
        for done in [pool.submit(several, caller) for caller in range(CALLERS)]:
            done.result()


def call(verb: str, container: str, pod: int) -> None:
    """Of the pod's network namespace of that number. Raises `SystemExit` where the agent refuses it."""
    netns = f"/run/netns/pod{pod}"
    descriptor = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _ask(verb, container, netns, descriptor)
    finally:
        os.close(descriptor)


def _ask(verb: str, container: str, netns: str, descriptor: int) -> None:
    now = wire.boottime()
    env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": netns, "CNI_PATH": "/"}
    stdin = json.dumps({"cniVersion": "1.0.0", "name": "pods", "type": "qingcni"})
    request = wire.Request(wire.CNI, os.urandom(8).hex(), now + 60, now, env, stdin)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(90)
        sock.connect(wire.SOCKET)
        beside = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [descriptor]))]
        sock.sendmsg([wire.encode_request(request)], beside)
        frame = wire.Frame()
        body = None
        while body is None:
            body = frame.feed(sock.recv(65536))
    answer = wire.decode_answer(body)
    if answer.exit:
        raise SystemExit(f"{verb} of {container}: {answer.stdout}")


def resident(pid: int) -> int:
    """Memory of a process, in kB. `/proc/PID/status` would lag behind by some pages of each processor."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise SystemExit(f"the kernel does not tell the memory of {pid}")


def run(command: str) -> None:
    """Words without spaces in them. Raises `CalledProcessError`."""
    subprocess.run(command.split(), check=True)


def _stat(pid: int) -> list[str]:
    """Of `/proc/PID/stat`, its third field being number 0."""
    return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.terminate()
        process.wait(60)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
