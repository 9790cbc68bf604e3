# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `qingagent`, as it is called: help, what it prints for people and programs, exit statuses."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import typing as t
from pathlib import Path

import pytest

from hostnic import config, wire
from hostnic.agent import questions
from hostnic.agent.reload import Reloader
from hostnic.agent.server import Server
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.commands import cli, command, explain, output
from hostnic.states import State
from tests.support.ansible import CLONE
from tests.support.node import Node

PACKAGE: t.Final = str(CLONE / "plugins/module_utils")
Main = t.Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(capfd: pytest.CaptureFixture[str]) -> Main:
    """Exit status, stdout, stderr."""

    def run(*words: str) -> tuple[int, str, str]:
        status = cli.main(words)
        told = capfd.readouterr()
        return status, told.out, told.err

    return run


# -- help --------------------------------------------------------------------------------------------------------------

# Of the original's page: name, type, default. Its bindaddr was 0.0.0.0, which gave NICs to the network.
ORIGINAL: t.Final = (
    ("QYAccessFilePath", "string", '"/etc/qingcloud/client.yaml"'),
    ("bindaddr", "string", '"127.0.0.1:31080"'),
    ("gatewayns", "string", '"hostnic"'),
    ("iface", "string", '"eth0"'),
    ("policy", "string", '"FailRotate"'),
    ("vxnet", "stringSlice", "[vxnet-xxxxxxx]"),
    ("zone", "string", '"pek3a"'),
)


def test_the_help_of_start_has_the_originals_shape(main: Main) -> None:
    status, out, __ = main("start", "-h")
    about, usage, flags, common, exits = out.split("\n\n")
    assert status == 0
    assert about.startswith("QingCloud container networking agent is a daemon process which allocates")
    assert usage == "Usage:\n  qingagent start [flags]"
    assert re.match(r"Flags:\n      --QYAccessFilePath string   ", flags)
    assert re.search(r"^  -h, --help +help for start$", flags, re.MULTILINE)
    for name, kind, default in ORIGINAL:
        assert re.search(rf"^      --{name} {kind} +\S.* \(default {re.escape(default)}\)$", flags, re.MULTILINE), name
    assert re.search(r"^      --pool-low int +\S.* \(default 3\)$", flags, re.MULTILINE)
    assert re.search(r"^      --idle-ttl duration +\S.* \(default 10m\)$", flags, re.MULTILINE)
    names = re.findall(r"--([A-Za-z-]+)", "\n".join(line[:40] for line in flags.splitlines()))
    assert names == sorted(names)
    assert common.startswith("Global Flags:\n      --config string     config file (default is ./QingAgent.yaml)\n")
    assert common.endswith('(default "info")') and "--loglevel string   " in common
    assert exits.startswith("Exit Status:\n  0   fine\n")


def test_the_help_lists_the_commands_and_each_explains_itself(main: Main) -> None:
    __, out, __ = main("--help")
    listed = re.findall(r"^  ([a-z-]+)   +\S", out.partition("Available Commands:")[2].partition("Flags:")[0], re.M)
    assert listed == [one.name for one in cli.COMMANDS]
    for one in cli.COMMANDS:
        status, told, __ = main(one.name, "-h")
        assert (status, told.count("Usage:\n")) == (0, 1)
        assert re.findall(r"^  (\d+)   ", told.partition("Exit Status:")[2], re.M) == [str(s) for s in one.exits]


@pytest.mark.parametrize("words", [["--config", "x.yaml", "config"], ["config", "--config", "x.yaml"]])
def test_global_flags_stand_before_or_after_the_command(
    main: Main, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("x.yaml").write_text("vxnet: vxnet-a1\nzone: lab1\n")
    status, out, err = main(*words, "--output", "json")
    assert (status, err) == (0, "")
    assert json.loads(out)["zone"] == {"value": "lab1", "from": str(tmp_path / "x.yaml")}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "the following arguments are required: command"),
        (["poll"], "unknown command 'poll', did you mean pool?"),
        (["pool", "--zork"], "--zork is not known here"),
        (["pool", "--output", "yaml"], "invalid choice: 'yaml'"),
        (["warm", "many"], "invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_is_told_with_where_to_look(main: Main, words: list[str], said: str) -> None:
    status, out, err = main(*words)
    assert (status, out) == (2, "")
    assert said in err and re.search(r": see qingagent( [a-z]+)? -h\n$", err)


def test_whoever_closes_the_pipe_early_sees_no_traceback() -> None:
    program = "from hostnic.commands.cli import main; import sys; sys.exit(main(['completion', 'bash']))"
    done = subprocess.run(
        ["bash", "-c", f'"{sys.executable}" -c "{program}" | head -c 10; exit ${{PIPESTATUS[0]}}'],
        capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": PACKAGE},
    )  # fmt: skip
    assert (done.returncode in (0, 1), done.stderr) == (True, "")


def test_the_page_lists_the_exit_statuses() -> None:
    page = (CLONE / "docs/qingagent.md").read_text(encoding="utf-8")
    assert dict(re.findall(r"^\| (\d+) \| (.+) \|$", page, re.M)) == {str(n): text for n, text in command.EXITS.items()}


# -- asking the agent --------------------------------------------------------------------------------------------------


class Asked(t.NamedTuple):
    node: Node
    main: Main
    socket: str

    def __call__(self, *words: str) -> tuple[int, str, str]:
        return self.main(*words, "--socket", self.socket)


@pytest.fixture
def asked(tmp_path: Path, main: Main) -> t.Iterator[Asked]:
    with Node(tmp_path, max_nics=20) as node:
        node.run(10)
        path = str(tmp_path / "sock")
        server = Server([UnixDoor(listen_at(path), questions.handlers(node.engine), os.getuid())], node.pool.poke)
        server.start()
        yield Asked(node, main, path)
        server.stop(5)


def test_all_is_well(asked: Asked) -> None:
    asked.node.add("pod", 1)
    status, out, err = asked("status")
    assert (status, err) == (0, "")
    assert out.splitlines()[0] == "all is well: 2 NICs ready, 1 pod, room for 19 more"
    assert re.search(r"^NICs +1 IN_USE, 2 READY$", out, re.M)
    assert re.search(r"^instance +i-node0001$", out, re.M)


def test_what_is_wrong_is_the_first_line_and_the_exit_status(asked: Asked) -> None:
    for name in "abc":
        asked.node.add(name, ord(name))
    fault = {"action": "CreateNics", "kind": "ret_code", "ret_code": 2400, "message": "balance", "count": None}
    asked.node.emulator.faults.order(fault)
    asked.node.run(2)
    status, out, __ = asked("status")
    assert status == 3
    assert out.splitlines()[0] == (
        "error: QingCloud refused CreateNics: balance (ret_code 2400): top up the account's balance"
    )
    status, out, __ = asked("status", "--output", "json")
    told = json.loads(out)
    assert (status, told["ok"], told["pods"], told["cap"]) == (3, False, 3, 20)
    assert told["problems"][0] == {
        "severity": "error",
        "what": "QingCloud refused CreateNics: balance (ret_code 2400)",
        "remedy": "top up the account's balance",
        "kind": "Denied",
        "action": "CreateNics",
        "ret_code": 2400,
    }


def test_what_an_operator_has_ordered_is_a_warning(asked: Asked) -> None:
    assert asked("drain")[1].startswith("this node is drained from now on: no pod starts until `qingagent resume`\n")
    status, out, __ = asked("status")
    assert status == 0
    assert out.splitlines()[0] == (
        "warning: this node is drained: start the pod on another, or end that with `qingagent resume`"
    )
    assert asked("resume")[1].startswith("pods start again\n")
    assert asked("resume")[1].startswith("this node is not drained\n")


def test_the_pool_is_a_table_that_says_whose_each_nic_is(asked: Asked) -> None:
    nic = asked.node.add("0123456789abcdef", 1)
    asked.node.engine.table.move(asked.node.engine.table.nics(State.READY)[0], State.BROKEN, note="attached, but gone")
    status, out, __ = asked("pool")
    head, *rows = out.splitlines()
    assert status == 0
    assert head.split() == ["NIC", "STATE", "SINCE", "VXNET", "ADDRESS", "POD", "NOTE"]
    assert [row.split()[1] for row in rows] == ["BROKEN", "IN_USE", "READY"]
    assert rows[0].endswith("attached, but gone")
    assert re.match(rf"{nic.nic_id}  IN_USE  \d+ [smhd] ago  vxnet-pods001  {nic.private_ip}  0123456789abc", rows[1])
    assert [one["nic_id"] for one in json.loads(asked("pool", "--output", "json")[1])] == [
        one.nic_id for one in asked.node.engine.table.nics()
    ]


def test_leases_name_the_pod_where_the_runtime_told_it(asked: Asked) -> None:
    assert asked("leases")[1] == "no pod has a NIC\n"
    nic = asked.node.add("c1", 1)
    table = asked.node.engine.table
    lease = table.leases()[0]
    table.apply(put=[type(lease)(**{**vars(lease), "args": {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web-1"}})])
    assert asked("leases")[1].splitlines()[1].split()[:4] == ["shop/web-1", "eth0", nic.nic_id, nic.private_ip]


def test_explain_speaks_in_numbers(asked: Asked) -> None:
    asked.node.add("pod", 1)
    asked.node.run(3)
    lines = asked("explain")[1].splitlines()
    assert lines[0] == ("The pool wants 4 NICs: 1 for pods that run, 0 for pods that wait, 3 warm; at most 20.")
    assert re.fullmatch(
        r"Warm: pods come at 0 a second at most times, and a new NIC takes \S+ s; so 0 would be ahead of them, and "
        r"pool-low raises that to 3\.", lines[1],
    )  # fmt: skip
    assert "At most 20: that is max-nics; the instance takes 64, 1 not ours and 0 for gateways among them." in lines
    assert "Bounded by: pool-low 3." in lines


def test_every_kind_of_action_has_words() -> None:
    one = {"nic_ids": ("a",), "vxnet_id": "vxnet-a", "count": 2}
    assert explain._action({"action": "create", **one}) == "create 2 in vxnet-a"
    assert explain._action({"action": "letgo", **one}) == "let go of 1 NIC"


def test_orders_say_what_happens_and_may_be_waited_for(asked: Asked) -> None:
    assert asked("warm", "3")[1] == "3 free NICs: all of them are there or on their way\nat once: keep 3 NICs\n"
    status, out, err = asked("warm", "5", "--wait", "--timeout", "0s")
    assert status == 1
    assert out.startswith("5 free NICs: 2 are to be made\n")
    assert "after 0 s: 3 of 5 are free: see qingagent status" in err
    asked.node.run(10)
    assert asked("warm", "5", "--wait")[0] == 0
    assert asked("trim")[1].startswith("what nobody needs goes\nat once: ")
    assert asked("look")[1] == "the agent looks at the cloud as soon as it may\n"
    assert asked("ping")[1] == "the agent answers\n"


def test_a_drain_is_waited_for_until_no_nic_is_left(asked: Asked) -> None:
    status, __, err = asked("drain", "--wait", "--timeout", "0s")
    assert (status, "after 0 s: 3 READY left" in err) == (1, True)
    asked.node.run(30)
    assert asked("drain", "--wait", "--timeout", "1s")[0] == 0
    assert asked("pool")[1] == "the pool has no NIC\n"


def test_waiting_may_be_interrupted(asked: Asked) -> None:
    program = "import sys; from hostnic.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    waiting = subprocess.Popen(
        [sys.executable, "-c", program, "drain", "--wait", "--socket", asked.socket],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": PACKAGE},
        # shells have background jobs ignore it
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )  # fmt: skip
    try:
        assert waiting.stderr and waiting.stderr.readline() == "3 READY left\n"
        waiting.send_signal(signal.SIGINT)
        assert (waiting.wait(20), waiting.stderr.read()) == (130, "")
    finally:
        waiting.kill()
        waiting.communicate()


def test_a_timeout_that_is_no_duration_changes_nothing(asked: Asked) -> None:
    status, __, err = asked("drain", "--timeout", "soon")
    assert (status, err) == (1, "qingagent: --timeout 'soon' is no duration: write it like 90s or 10m\n")
    assert asked.node.explain()["draining"] is False


def test_nobody_there_is_exit_status_1(main: Main, tmp_path: Path) -> None:
    status, out, err = main("status", "--socket", str(tmp_path / "none"))
    assert (status, out) == (1, "")
    assert err.startswith(f"qingagent: no agent answers on {tmp_path}/none (No such file or directory): systemctl")


# -- version -----------------------------------------------------------------------------------------------------------


def test_a_running_agent_of_another_package_is_told(main: Main, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")

    def answer(request: wire.Request, *__: t.Any) -> wire.Answer:
        return wire.Answer(request.request_id, 0, json.dumps({"version": "0.1.0", "digest": "abc"}))

    server = Server([UnixDoor(listen_at(path), {"version": answer}, os.getuid())], lambda: None)
    server.start()
    try:
        status, out, __ = main("version", "--socket", path)
    finally:
        server.stop(5)
    assert (status, out) == (
        0, "qingagent not installed\nthe agent that runs is 0.1.0 abc: systemctl restart qingagent\n"
    )  # fmt: skip
    assert main("version", "--socket", path)[1] == "qingagent not installed\n"


# -- stop --------------------------------------------------------------------------------------------------------------

LISTENER: t.Final = """
import signal, sys
from hostnic.agent.unix import listen_at
listener = listen_at(sys.argv[1])
print("listens", flush=True)
signal.sigwait([signal.SIGTERM])
"""


def test_an_agent_in_the_foreground_is_stopped_by_its_process(main: Main, tmp_path: Path) -> None:
    path = str(tmp_path / "sock")
    environ = {**os.environ, "PYTHONPATH": PACKAGE}
    listener = subprocess.Popen([sys.executable, "-c", LISTENER, path], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert listener.stdout and listener.stdout.readline() == "listens\n"
        status, out, __ = main("stop", "--socket", path)
        assert (status, out) == (0, f"stopped the agent that listened on {path} (process {listener.pid})\n")
        assert listener.wait(5) is not None
    finally:
        listener.kill()
        listener.wait()
    assert main("stop", "--socket", path)[:2] == (0, f"no agent listens on {path}: nothing to stop\n")


# -- config ------------------------------------------------------------------------------------------------------------

FORMATS: t.Final = {
    "yaml": "vxnet: [vxnet-a1, vxnet-b2]\npool-low: 4\nidle-ttl: 90s\n",
    "yml": "vxnet: vxnet-a1,vxnet-b2\npool-low: 4\nidle-ttl: 90s\n",
    "json": '{"vxnet": ["vxnet-a1", "vxnet-b2"], "pool-low": 4, "idle-ttl": "90s"}',
    "toml": 'vxnet = ["vxnet-a1", "vxnet-b2"]\npool-low = 4\nidle-ttl = "90s"\n',
    "ini": "[QingAgent]\nvxnet = vxnet-a1,vxnet-b2\npool-low = 4\nidle-ttl = 90s\n",
    "xml": "<QingAgent><vxnet>vxnet-a1</vxnet><vxnet>vxnet-b2</vxnet><pool-low>4</pool-low><idle-ttl>90s</idle-ttl>"
    "</QingAgent>",
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("QINGAGENT_")]:
        monkeypatch.delenv(name)
    return tmp_path


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_read_and_said_to_be_where_a_value_is_from(main: Main, here: Path, ending: str) -> None:
    if ending == "toml" and sys.version_info < (3, 11):
        pytest.skip("TOML takes Python 3.11")
    file = here / f"QingAgent.{ending}"
    file.write_text(FORMATS[ending])
    status, out, __ = main("config", "--output", "json")
    told = json.loads(out)
    assert status == 0
    assert told["vxnet"] == {"value": ["vxnet-a1", "vxnet-b2"], "from": str(file)}
    assert told["idle-ttl"] == {"value": 90.0, "from": str(file)}
    assert told["zone"] == {"value": "pek3a", "from": "default"}


def test_flag_before_variable_before_file_before_default(
    main: Main, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "QingAgent.yaml").write_text("vxnet: vxnet-a1\npool-low: 4\npool-high: 9\nzone: file1\n")
    monkeypatch.setenv("QINGAGENT_POOL_LOW", "5")
    monkeypatch.setenv("QINGAGENT_ZONE", "env1")
    __, out, __ = main("config", "--zone", "flag1")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert rows["zone"] == ["flag1", "--zone"]
    assert rows["pool-low"] == ["5", "QINGAGENT_POOL_LOW"]
    assert rows["pool-high"] == ["9", str(here / "QingAgent.yaml")]
    assert rows["idle-ttl"] == ["10m", "default"]


def test_the_access_file_is_told_without_its_secret(main: Main, here: Path) -> None:
    access = here / "client.yaml"
    access.write_text("qy_access_key_id: AKIDPLANTED\nqy_secret_access_key: PLANTEDSECRET\nhost: api.lab\n")
    access.chmod(0o600)
    (here / "QingAgent.yaml").write_text(f"vxnet: vxnet-a1\nQYAccessFilePath: {access}\n")
    for more in ([], ["--output", "json"]):
        __, out, err = main("config", *more)
        assert "api.lab" in out
        assert "PLANTEDSECRET" not in out + err and "AKIDPLANTED" not in out + err


def test_the_agent_that_runs_is_asked_for_what_it_has(main: Main, here: Path) -> None:
    settings, origins = config.load({"pool-low": "4", "vxnet": "vxnet-a1,vxnet-b2"}, {}, here)
    reloader = Reloader(settings, origins, lambda: (settings, origins), lambda __: None, lambda: False)
    path = str(here / "sock")

    def answer(request: wire.Request, *__: t.Any) -> wire.Answer:
        return wire.Answer(request.request_id, 0, json.dumps(reloader.shown()))

    server = Server([UnixDoor(listen_at(path), {"settings": answer}, os.getuid())], lambda: None)
    server.start()
    try:
        status, out, __ = main("config", "--running", "--socket", path)
    finally:
        server.stop(5)
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()}
    assert (status, rows["pool-low"], rows["vxnet"]) == (0, ["4", "--pool-low"], ["vxnet-a1,vxnet-b2", "--vxnet"])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("vxnet: vxnet-a1\npol-low: 3\n", "unknown key 'pol-low', the nearest is 'pool-low'"),
        ("vxnet: vxnet-a1\npool-low: 9\n", "pool-low is 9, more than pool-high, which is 8"),
        ("vxnet: [\n", "not valid YAML"),
    ],
)
def test_a_file_that_cannot_be_used_is_told_by_check(main: Main, here: Path, text: str, said: str) -> None:
    (here / "other.yaml").write_text(text)
    status, out, err = main("config", "--check", "other.yaml")
    assert (status, out) == (1, "")
    assert said in err
    (here / "other.yaml").write_text("vxnet: vxnet-a1\n")
    assert main("config", "--check", "other.yaml")[:2] == (0, "other.yaml can be used\n")


# -- completion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "there", "not_there"),
    [
        (["qingagent", ""], {"status", "start", "simulate"}, {"--socket"}),
        (["qingagent", "st"], {"start", "stop", "status"}, {"pool"}),
        (["qingagent", "--loglevel", "debug", "po"], {"pool"}, {"ping"}),
        (["qingagent", "pool", "--"], {"--output", "--socket", "--config"}, {"--evict"}),
        (["qingagent", "pool", "--output", ""], {"text", "json"}, {"--socket"}),
        (["qingagent", "start", "--pool"], {"--pool-low", "--pool-high"}, {"--zone"}),
        (["qingagent", "completion", ""], {"bash", "zsh", "fish"}, {"pool"}),
    ],
)
def test_bash_completes(main: Main, tmp_path: Path, line: list[str], there: set[str], not_there: set[str]) -> None:
    script = tmp_path / "completion"
    script.write_text(main("completion", "bash")[1])
    words = " ".join(f"'{word}'" for word in line)
    program = (
        f"source {script}; COMP_WORDS=({words}); COMP_CWORD={len(line) - 1}; _qingagent; "
        'printf "%s\\n" "${COMPREPLY[@]}"; complete -p qingagent >&2'
    )
    done = subprocess.run(["bash", "--norc", "-c", program], capture_output=True, text=True, check=True)
    found = set(done.stdout.split())
    assert there <= found and not not_there & found
    assert done.stderr == "complete -o default -F _qingagent qingagent\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_told_every_command_and_flag(main: Main, shell: str) -> None:
    __, out, __ = main("completion", shell)
    for one in cli.COMMANDS:
        assert re.search(rf"\b{one.name}\b", out)
    assert out.count("pool-low") >= 2


# -- pieces ------------------------------------------------------------------------------------------------------------


def test_tables_spans_and_charts() -> None:
    told = output.table(("A", "N"), [("x", 1), ("long", 23), (None, 4)])
    assert told == "A      N\nx      1\nlong  23\n-      4\n"
    assert [output.span(s) for s in (0, 59.9, 60, 7200, 200000)] == ["0 s", "59 s", "1 m", "2 h", "2 d"]
    assert output.chart([0, 1, 2, 4], 4) == " ▂▄█"
    assert output.chart([0, 4, 0, 0, 1, 1], 3) == "█ ▂"
    assert output.chart([1, 2], 10, output.ASCII) == "=@"
