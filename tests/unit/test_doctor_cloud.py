# SPDX-License-Identifier: GPL-3.0-or-later
"""The doctor's questions to the cloud: few, only reads, over real connections; an API that hangs does not hold it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
import typing as t
from functools import partial
from pathlib import Path

import pytest

from hostnic.commands import cli
from hostnic.doctor import table
from hostnic.doctor.examine import examine
from hostnic.doctor.finding import Report
from hostnic.doctor.patient import Patient, Told, ask_cloud
from hostnic.doctor.reader import Reader
from hostnic.errors import LinkFailed
from tests.emulator import Settings as CloudSettings
from tests.support.node import INSTANCE, Node

CLOUD = tuple(check for check in table.GROUPS[-1].checks if check.check_id != "access-file")
PAGE = Path(__file__).parents[2] / "docs/doctor.md"


def nowhere() -> dict[str, int]:
    raise LinkFailed("no parking here")


def programless(command: t.Sequence[str]) -> str:
    if command[0] == "systemctl":
        return ""
    raise FileNotFoundError(command[0])


@contextlib.contextmanager
def ailing(directory: Path, **cloud: t.Any) -> t.Iterator[tuple[Node, Patient]]:
    """A node whose agent runs in this process, on an emulated cloud with these settings."""
    with Node(directory, cloud=CloudSettings().changed(cloud)) as node:
        (primary,) = [nic for nic in node.emulator.cloud.nics.values() if nic.instance_id == INSTANCE]
        for path, text in (
            ("etc/qingcloud/instance-id", INSTANCE),
            ("sys/class/net/eth0/address", primary.nic_id),
            ("sys/class/net/eth0/mtu", "1500"),
        ):
            (directory / "root" / path).parent.mkdir(parents=True, exist_ok=True)
            (directory / "root" / path).write_text(text)
        yield node, patient(directory, node)


def patient(directory: Path, node: Node, answer: float = 4.0) -> Patient:
    def ask(__: str, op: str) -> t.Any:
        pool = [{"nic_id": nic.nic_id, "state": nic.state.value} for nic in node.engine.table.nics()]
        return {"ping": {}, "pool": pool, "explain": node.explain()}[op]

    reader = Reader(directory / "root", programless, nowhere)
    return Patient(reader, lambda: Told(node.settings, {}), ask, partial(ask_cloud, answer=answer))


def found(report: Report) -> dict[str, str]:
    return {finding.check: finding.what for finding in report.findings}


def test_a_look_at_the_cloud_is_a_handful_of_reads(tmp_path: Path) -> None:
    with ailing(tmp_path) as (node, look):
        node.run(10)
        node.emulator.counters.reset()
        report = examine(look, CLOUD)
        calls = node.emulator.counters.to_dict()["calls"]
    assert report.findings == []
    assert calls == {"DescribeNics": 3, "DescribeVxnets": 1, "DescribeJobs": 1}


def test_what_the_agent_was_refused_is_the_keys_lack(tmp_path: Path) -> None:
    refusal = {"ret_code": 1400, "message": "PermissionDenied, you may not attach nics", "count": None}
    with ailing(tmp_path) as (node, look):
        node.emulator.faults.order({"action": "AttachNics", "kind": "ret_code", **refusal})
        node.run(20)
        report = examine(look, CLOUD)
    assert list(found(report)) == ["key-rights"]
    assert "refused AttachNics" in found(report)["key-rights"]


@pytest.mark.parametrize(("ahead", "severity"), [(300.0, "error"), (-45.0, "warning")])
def test_clocks_that_differ_are_seen_by_the_answers_themselves(tmp_path: Path, ahead: float, severity: str) -> None:
    with ailing(tmp_path, wall_ahead=ahead) as (__, look):
        (finding,) = examine(look, CLOUD).findings
    assert (finding.check, finding.severity) == ("clock", severity)
    told = int(re.findall(r"clock is (\d+) s", finding.what)[0])
    assert abs(told - abs(ahead)) <= 2  # the API's time has whole seconds
    assert ("behind" if ahead > 0 else "ahead of") in finding.what


def test_a_key_that_nobody_knows(tmp_path: Path) -> None:
    with ailing(tmp_path) as (node, look):
        node.emulator.cloud.access_keys.clear()
        assert list(found(examine(look, CLOUD))) == ["access-key"]


def test_an_api_that_never_answers_is_a_finding_in_time(tmp_path: Path) -> None:
    with ailing(tmp_path) as (node, __), socket.create_server(("127.0.0.1", 0)) as silent:
        access = Path(node.settings.access_file)
        access.write_text(re.sub(r"port: \d+", f"port: {silent.getsockname()[1]}", access.read_text()))
        started = time.monotonic()
        report = examine(patient(tmp_path, node, answer=0.3), CLOUD)
        took = time.monotonic() - started
    assert list(found(report)) == ["api"] and "did not answer DescribeNics within 0.3 s" in found(report)["api"]
    assert took < table.DEADLINE
    assert {"vxnets", "leaks", "instance"} <= {one.check for one in report.unchecked}


def test_a_resolver_that_hangs_is_a_finding_in_time(tmp_path: Path) -> None:
    """What no timeout of ours bounds."""

    class Hanging:
        def describe_nics(self, **__: str) -> t.Any:
            time.sleep(30)

    with ailing(tmp_path) as (node, __):
        look = Patient(
            Reader(tmp_path / "root", programless, nowhere),
            lambda: Told(node.settings, {}),
            lambda *__: {},
            lambda __: t.cast("t.Any", Hanging()),
        )
        (check,) = [one for one in CLOUD if one.check_id == "api"]
        assert found(examine(look, [check], deadline=0.2)) == {"api": table.cloud.NO_ANSWER.what}


# -- the command and its page ------------------------------------------------------------------------------------------


def test_the_command_tells_what_it_found_on_whatever_machine(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """This one has no agent, and an access file that nobody has to reach."""
    if os.geteuid():
        pytest.skip("doctor looks at what only root may see")
    file = tmp_path / "QingAgent.yaml"
    access = tmp_path / "client.yaml"
    access.write_text("host: 127.0.0.1\nport: 1\nprotocol: http\nqy_access_key_id: K\nqy_secret_access_key: S\n")
    access.chmod(0o600)
    file.write_text(f"vxnet: vxnet-pods001\nQYAccessFilePath: {access}\nstatedir: {tmp_path}/s\nrundir: {tmp_path}/r\n")
    monkeypatch.chdir(tmp_path)
    status = cli.main(["doctor", "--config", file.name, "--output", "json"])
    told = json.loads(capsys.readouterr().out)
    assert status == 3 and not told["healthy"]
    assert told["checks"] == [check.check_id for check in table.CHECKS]
    assert set(told) == {"healthy", "findings", "unchecked", "checks"}
    assert {"check", "severity", "what", "remedy"} == set(told["findings"][0])
    seen = {one["check"] for one in told["findings"]} | {one["check"] for one in told["unchecked"]}
    assert {"agent", "api"} <= seen and "settings" not in seen


def test_only_root_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().err == "qingagent: doctor looks at what only root may see: run it as root\n"


def test_each_check_is_documented_and_each_documented_one_exists() -> None:
    text = PAGE.read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| .+ \|$", text, re.MULTILINE)
    assert rows == [(check.check_id, check.looks_at) for check in table.CHECKS]
    titles = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert [title for title in titles if title in {group.title for group in table.GROUPS}] == [
        group.title for group in table.GROUPS
    ]
    assert f"{table.DEADLINE:.0f} seconds" in text
