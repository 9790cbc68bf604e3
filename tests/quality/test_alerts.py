# SPDX-License-Identifier: GPL-3.0-or-later
"""Alert rules and dashboard by Prometheus' own tool: valid, and each alert fires when it should and not before."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.quality.programs import run
from tests.quality.promtool import promtool
from tests.quality.venvs import CLONE

RULES = CLONE / "files/observability/alerts.yml"
Labels = dict[str, str]


@dataclass(frozen=True)
class Case:
    """`wrong` and `right`: series with a value a minute. The alert fires after `minutes` of what is wrong, not before
    `quiet` of them, and never of what is right. `labels`: those of the alert, beside job, instance and severity.
    """

    wrong: dict[str, str]
    right: dict[str, str]
    minutes: int
    quiet: int
    labels: Labels


def calls(total: int, failed: int, kind: str = "PoolEmpty") -> dict[str, str]:
    """ADDs of so many, and of them so many failed, in each minute."""
    name = "qingcni_request_duration_seconds_count"
    return {
        f'{name}{{verb="ADD", outcome="ok"}}': f"0+{total - failed}x300",
        f'{name}{{verb="ADD", outcome="{kind}"}}': f"0+{failed}x300",
        f'{name}{{verb="DEL", outcome="{kind}"}}': f"0+{total}x300",
    }


def slow(share: int) -> dict[str, str]:
    """So many of a hundred ADDs take between 5 and 10 s."""
    name = "qingcni_request_duration_seconds_bucket"
    by_le = {"5.0": 100 - share, "10.0": 100, "+Inf": 100}
    return {f'{name}{{verb="ADD", outcome="ok", le="{le}"}}': f"0+{n}x300" for le, n in by_le.items()}


def gauge(value: float, name: str, labels: str = "") -> dict[str, str]:
    return {f"{name}{{{labels}}}": f"{value}x300"}


CASES = {
    "QingagentDown": Case(gauge(0, "up"), gauge(1, "up"), 6, 4, {}),
    "QingagentNotReady": Case(
        {**gauge(0, "qingagent_ready"), **gauge(0, "qingagent_draining")},
        {**gauge(0, "qingagent_ready"), **gauge(1, "qingagent_draining")},
        6,
        4,
        {},
    ),
    "QingagentAddsFail": Case(calls(10, 2), calls(10, 5, "HungUp"), 15, 9, {}),
    "QingagentAddsSlow": Case(slow(10), slow(2), 20, 14, {}),
    "QingagentPoolFull": Case(
        {
            **gauge(60, "qingagent_pool_used_nics"),
            **gauge(60, "qingagent_pool_cap_nics"),
            **gauge(1, "qingagent_pool_waiting_requests"),
        },
        {
            **gauge(60, "qingagent_pool_used_nics"),
            **gauge(60, "qingagent_pool_cap_nics"),
            **gauge(0, "qingagent_pool_waiting_requests"),
        },
        6,
        4,
        {},
    ),
    "QingagentVxnetBlocked": Case(
        gauge(1, "qingagent_vxnet_blocked", 'vxnet="v"'),
        gauge(0, "qingagent_vxnet_blocked", 'vxnet="v"'),
        31,
        29,
        {"vxnet": "v"},
    ),
    "QingagentSteals": Case(
        {"qingagent_quarantine_steals_total{}": "0+1x300"}, {"qingagent_quarantine_steals_total{}": "7x300"}, 65, 59, {}
    ),
    "QingagentCloudAway": Case(
        {"qingagent_cloud_away_seconds{}": "0+60x300"}, gauge(200, "qingagent_cloud_away_seconds"), 6, 5, {}
    ),
    "QingagentKeyRefused": Case(
        gauge(1, "qingagent_trouble", 'kind="AuthFailed"'),
        gauge(1, "qingagent_trouble", 'kind="Busy"'),
        6,
        4,
        {"kind": "AuthFailed"},
    ),
    "QingagentRateLimited": Case(
        {'qingagent_cloud_limiter_refused_total{action="AttachNics"}': "0+1x300"},
        {
            'qingagent_cloud_limiter_refused_total{action="AttachNics"}': "3x300",
            "qingagent_cloud_limiter_held_back_total{}": "1x300",
        },
        35,
        29,
        {},
    ),
    "QingagentReconcileStale": Case(
        gauge(0, "qingagent_instance_proven"),
        {**gauge(130, "qingagent_reconcile_age_seconds"), **gauge(1, "qingagent_instance_proven")},
        6,
        4,
        {},
    ),
    "QingagentBrokenNics": Case(
        gauge(1, "qingagent_nics", 'state="BROKEN", vxnet="v"'),
        gauge(9, "qingagent_nics", 'state="READY", vxnet="v"'),
        61,
        59,
        {},
    ),
    "QingagentLeaks": Case(
        {'qingagent_leaks_found_total{kind="lease"}': "0+1x300"},
        {'qingagent_leaks_found_total{kind="nic"}': "0+9x300"},
        60,
        3,
        {},
    ),
    "QingagentStrangers": Case(gauge(2, "qingagent_stranger_nics"), gauge(0, "qingagent_stranger_nics"), 31, 29, {}),
    "QingagentHeldStill": Case(
        gauge(1, "qingagent_degradation", 'level="L0"'),
        gauge(0, "qingagent_degradation", 'level="L0"'),
        241,
        239,
        {"level": "L0"},
    ),
}


def rules() -> dict[str, dict[str, t.Any]]:
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for group in groups for rule in group["rules"]}


def series(told: t.Mapping[str, str], instance: str) -> list[dict[str, str]]:
    whose = f'job="qingagent", instance="{instance}"'
    named = {name[:-1] + (", " if name[-2] != "{" else "") + whose + "}": values for name, values in told.items()}
    return [{"series": name, "values": values} for name, values in named.items()]


def test_the_rules_are_valid() -> None:
    said = run([str(promtool()), "check", "rules", str(RULES)]).stdout
    assert f"{len(rules())} rules found" in said


def test_what_the_dashboard_asks_is_understood(tmp_path: Path) -> None:
    """As recording rules, with something in the place of Grafana's variables."""
    panels = json.loads((CLONE / "files/observability/dashboard.json").read_text(encoding="utf-8"))["panels"]
    asked = [target["expr"] for panel in panels for target in panel.get("targets", [])]
    plain = [re.sub(r"\[\$__(rate_interval|range)\]", "[5m]", text).replace("$", "") for text in asked]
    recorded = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": recorded}]}), encoding="utf-8")
    assert f"{len(asked)} rules found" in run([str(promtool()), "check", "rules", str(file)]).stdout


def test_each_fires_when_it_should_and_not_before(tmp_path: Path) -> None:
    """One node has what is wrong, another what is right."""
    assert CASES.keys() == rules().keys()
    tests = []
    for name, case in CASES.items():
        labels = {
            "job": "qingagent",
            "instance": "wrong",
            "severity": rules()[name]["labels"]["severity"],
            **case.labels,
        }
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [*series(case.wrong, "wrong"), *series(case.right, "right")],
                "alert_rule_test": [
                    {"eval_time": f"{case.quiet}m", "alertname": name, "exp_alerts": []},
                    {"eval_time": f"{case.minutes}m", "alertname": name, "exp_alerts": [{"exp_labels": labels}]},
                ],
            }
        )
    file = tmp_path / "tests.yml"
    document = {"rule_files": [str(_bare(tmp_path))], "evaluation_interval": "1m", "tests": tests}
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    run([str(promtool()), "test", "rules", str(file)])


def _bare(directory: Path) -> Path:
    """The rules without their sentences, which tell values."""
    told = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in told["groups"]:
        for rule in group["rules"]:
            del rule["annotations"]
    path = directory / "rules.yml"
    path.write_text(yaml.safe_dump(told), encoding="utf-8")
    return path


@pytest.mark.parametrize("name", CASES)
def test_each_says_what_it_means_and_where_to_read_on(name: str) -> None:
    told = rules()[name]
    assert told["labels"]["severity"] in ("page", "ticket")
    assert told["annotations"].keys() == {"summary", "description", "runbook"}
