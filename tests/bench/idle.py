# SPDX-License-Identifier: GPL-3.0-or-later
"""What an agent with a full pool costs its node while nothing happens, and whether it stays so under use.

    python -m tests.bench.idle [--nics 60] [--pods 30] [--seconds 120] [--calls 10000]

The real agent, half of its NICs in pods, on a machine that is a few namespaces: the emulated cloud's links are in them,
and move between them. It is compared with a process that imports the same modules and does nothing. Processor time is
that of the agent and of the programs that it starts; calls come over its socket, with a descriptor, as qingcni's.
"""

from __future__ import annotations

import argparse
import array
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import typing as t
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import yaml

from hostnic import wire
from tests.emulator import Emulator
from tests.emulator import Settings as CloudSettings
from tests.emulator.dataplane.netns import NetnsDataPlane
from tests.lab.table import table

CLONE: t.Final = Path(__file__).resolve().parents[2]
MEMORY_LIMIT: t.Final = 1.3  # times the bare imports
CPU_LIMIT: t.Final = 0.005
FLAT: t.Final = 1.02  # the last fifth's memory, in that of the first fifth
CALLERS: t.Final = 4  # at once
TENTHS: t.Final = 10
INSTANCE, KEY, SECRET = "i-0a1b2c3d", "QYACCESSKEYIDEXAMPLE", "SECRETACCESSKEY"
VXNET: t.Final = "vxnet-pods001"
WORLD: t.Final = {
    "zone": "lab1",
    "access_keys": [{"access_key_id": KEY, "secret_access_key": SECRET, "owner": "usr-test0001"}],
    "routers": [{"router_id": "rtr-test0001", "vpc_network": "172.16.0.0/16"}],
    "vxnets": [
        {"vxnet_id": "vxnet-nodes01", "ip_network": "172.16.0.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
        {"vxnet_id": VXNET, "ip_network": "172.16.1.0/24", "router_id": "rtr-test0001", "vxnet_type": 1},
    ],
    "instances": [{"instance_id": INSTANCE, "netns": "node1", "primary": {"vxnet_id": "vxnet-nodes01"}}],
}
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


@dataclass(frozen=True)
class Figures:
    """Memory in kB, `cpu` as a share of one processor."""

    nics: int
    pods: int
    bare: int
    idle: int
    cpu: float
    calls: int
    course: tuple[int, ...]  # after each tenth of the calls
    rate: float  # ADDs, each with its DEL, in a second

    @property
    def early(self) -> int:
        """Memory after a fifth of the calls: what is made once is made by then."""
        return self.course[1]

    @property
    def late(self) -> int:
        return self.course[-1]

    def complaints(self) -> list[str]:
        """What misses its bar."""
        found = []
        if self.idle > MEMORY_LIMIT * self.bare:
            found.append(f"an idle agent has {self.idle / self.bare:.2f} times the memory of its imports")
        if self.cpu > CPU_LIMIT:
            found.append(f"an idle agent takes {self.cpu:.2%} of a processor")
        if self.late > FLAT * self.early:
            found.append(f"memory grew from {self.early} to {self.late} kB over {self.calls} ADDs and DELs")
        return found


class Machine:
    """This process, in namespaces of its own, as the instance of an emulated cloud; for `with`."""

    def __init__(self, nics: int, pods: int) -> None:
        self._nics = nics
        self._pods = pods
        self._stack = contextlib.ExitStack()
        self._modules = Path("/run/modules")
        self.agent: t.Optional[subprocess.Popen[bytes]] = None

    def __enter__(self) -> Machine:
        with self._stack:
            self._set_up()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stack.close()

    def _set_up(self) -> None:
        _run("mount -t tmpfs tmpfs /run")
        for directory in ("/run/netns", "/run/etc", "/run/work", "/run/qingagent", "/run/state"):
            Path(directory).mkdir(mode=0o700)
        _run("mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/etc,workdir=/run/work /etc")
        _run("ip link set lo up")
        _run("ip netns add qingagent")
        _run(f"ip netns attach node1 {os.getpid()}")
        dataplane = NetnsDataPlane(f"ib{os.getpid() % 100000}")
        emulator = Emulator(CloudSettings(), world=WORLD, dataplane=dataplane)
        emulator.start()
        self._stack.callback(emulator.stop)
        host, __, port = emulator.url.removeprefix("http://").partition(":")
        _write(Path("/etc/qingcloud/instance-id"), INSTANCE)
        access = {"qy_access_key_id": KEY, "qy_secret_access_key": SECRET, "host": host, "port": int(port)}
        _write(Path("/etc/qingcloud/client.yaml"), yaml.safe_dump({**access, "protocol": "http"}))
        for number in range(self._pods + CALLERS):
            _run(f"ip netns add pod{number}")

    def start(self) -> None:
        """Returns once all NICs are ready."""
        links = json.loads(subprocess.run(["ip", "-j", "link"], check=True, capture_output=True).stdout)
        iface = next(link["ifname"] for link in links if link["ifname"] != "lo")
        flags = {
            "vxnet": VXNET, "zone": "lab1", "iface": iface, "statedir": "/run/state", "pool-low": self._nics,
            "pool-high": self._nics, "max-nics": self._nics, "quarantine": "0s", "quarantine-min": "0s",
            "api-rate": "50/s", "loglevel": "warn",
        }  # fmt: skip
        words = [word for key, value in flags.items() for word in (f"--{key}", str(value))]
        environ = {**os.environ, "PYTHONPATH": str(CLONE / "plugins/module_utils")}
        command = [sys.executable, "-c", _AGENT, str(self._modules), "start", *words]
        self.agent = subprocess.Popen(command, env=environ, cwd="/run")
        self._stack.callback(_end, self.agent)
        _until(lambda: self.states() == {"READY": self._nics}, 300)
        for number in range(self._pods):
            _call("ADD", f"stays{number}", number)

    def states(self) -> dict[str, int]:
        try:
            nics = wire.ask(wire.SOCKET, "pool")
        except Exception as error:
            if self.agent is None or self.agent.poll() is not None:
                raise SystemExit("the agent has ended") from error
            return {}
        counts: dict[str, int] = {}
        for nic in nics:
            counts[nic["state"]] = counts.get(nic["state"], 0) + 1
        return counts

    def memory(self) -> int:
        return _memory(self._pid)

    def bare(self) -> int:
        """Memory of a process that imports what the agent has imported by now."""
        self._modules.unlink(missing_ok=True)
        os.kill(self._pid, signal.SIGUSR1)
        _until(self._modules.exists, 30)
        environ = {**os.environ, "PYTHONPATH": str(CLONE / "plugins/module_utils")}
        command = [sys.executable, "-c", _IMPORTS, str(self._modules)]
        with subprocess.Popen(command, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
            t.cast("t.IO[bytes]", process.stdout).readline()
            found = _memory(process.pid)
            t.cast("t.IO[bytes]", process.stdin).close()
        return found

    def cpu(self, seconds: float) -> float:
        """Its share of a processor, programs that it runs included."""
        before, began = _ticks(self._pid), time.monotonic()
        time.sleep(seconds)
        spent = (_ticks(self._pid) - before) / os.sysconf("SC_CLK_TCK")
        return spent / (time.monotonic() - began)

    def churn(self, calls: int) -> None:
        """So many ADDs, each followed by its DEL, by several callers at once."""

        def call(caller: int) -> None:
            for number in range(caller, calls, CALLERS):
                for verb in ("ADD", "DEL"):
                    _call(verb, f"c{number}", self._pods + caller)

        with ThreadPoolExecutor(CALLERS) as pool:
            for done in [pool.submit(call, caller) for caller in range(CALLERS)]:
                done.result()

    @property
    def _pid(self) -> int:
        if self.agent is None:
            raise SystemExit("the agent was not started")
        return self.agent.pid


def measure(nics: int, pods: int, seconds: float, calls: int) -> Figures:
    """In namespaces of this process's own."""
    with Machine(nics, pods) as machine:
        machine.start()
        time.sleep(10)  # the last looks that follow growth
        idle, cpu = machine.memory(), machine.cpu(seconds)
        bare = machine.bare()
        began = time.monotonic()
        course = []
        for __ in range(TENTHS):
            machine.churn(calls // TENTHS)
            course.append(machine.memory())
        rate = calls / (time.monotonic() - began)
        return Figures(nics, pods, bare, idle, round(cpu, 5), calls, tuple(course), round(rate, 1))


def isolated(*words: str) -> Figures:
    """`measure` in a process of its own. Raises `CalledProcessError`."""
    command = ["unshare", "--mount", "--net", "--propagation", "private", sys.executable, "-m", "tests.bench.idle"]
    done = subprocess.run([*command, "--inside", *words], cwd=CLONE, stdout=subprocess.PIPE, check=True)
    return Figures(**{**(told := json.loads(done.stdout)), "course": tuple(told["course"])})


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.idle", description="What an idle agent costs.")
    parser.add_argument("--nics", type=int, default=60)
    parser.add_argument("--pods", type=int, default=30, help="that have one each all the time")
    parser.add_argument("--seconds", type=float, default=120, help="for which its processor time is measured")
    parser.add_argument("--calls", type=int, default=10000, help="ADDs, each followed by its DEL")
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args(argv)
    if given.inside:
        sys.stdout.write(json.dumps(asdict(measure(given.nics, given.pods, given.seconds, given.calls))))
        return 0
    pool = (f"--nics={given.nics}", f"--pods={given.pods}")
    found = isolated(*pool, f"--seconds={given.seconds}", f"--calls={given.calls}")
    rows = [
        ("memory of the bare imports", f"{found.bare} kB", ""),
        (
            f"memory idle with {found.nics} NICs and {found.pods} pods",
            f"{found.idle} kB",
            f"{found.idle / found.bare:.2f} of them",
        ),
        ("processor while idle", f"{found.cpu:.2%}", f"at most {CPU_LIMIT:.1%}"),
        *(
            (f"memory after {found.calls * (tenth + 1) // TENTHS} ADDs and DELs", f"{memory} kB", "")
            for tenth, memory in enumerate(found.course)
        ),
        ("the last of these", f"{found.late / found.early:.3f}", "of the second"),
        ("ADDs, each with its DEL", f"{found.rate} a second", f"{CALLERS} callers at once"),
    ]
    sys.stdout.write(table(("what", "how much", "beside"), rows) + "\n")
    complaints = found.complaints()
    sys.stdout.write("".join(f"{complaint}\n" for complaint in complaints))
    return 1 if complaints else 0


def _call(verb: str, container: str, pod: int) -> None:
    """Of the pod's network namespace of that number."""
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


def _memory(pid: int) -> int:
    """Resident, in kB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Rss:"):
            return int(line.split()[1])
    raise SystemExit(f"the kernel does not tell the memory of {pid}")


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _until(condition: t.Callable[[], t.Any], within: float) -> None:
    until = time.monotonic() + within
    while not condition():
        if time.monotonic() > until:
            raise SystemExit(f"not within {within} s")
        time.sleep(0.5)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(60)


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)


if __name__ == "__main__":
    sys.exit(main())
