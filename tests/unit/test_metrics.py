# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells Prometheus, beside what is written about it, and beside what dashboard and alerts ask for."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
import time
import typing as t
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from hostnic import telemetry
from hostnic.agent.metrics import Metrics
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Verbs
from hostnic.errors import PoolEmpty
from hostnic.states import State
from hostnic.wire import Request
from tests.support.cni import ScriptedLinks, ScriptedPool, nic
from tests.support.node import INSTANCE, Node

CLONE = Path(__file__).parents[2]
PODS = "vxnet-pods001"
# Prometheus' own, and the client's own about its process: named where they are used.
STANDARD = {"up", "process_resident_memory_bytes", "process_cpu_seconds_total"}


class Told(t.NamedTuple):
    """`labels` without those that samples of a histogram have."""

    kind: str
    labels: frozenset[str]


class Scrape:
    """One answer of /metrics, read by Prometheus' own parser."""

    def __init__(self, metrics: Metrics) -> None:
        self.families = list(text_string_to_metric_families(metrics.text().decode()))

    def value(self, name: str, **labels: str) -> t.Optional[float]:
        """None where there is no such sample."""
        samples = [one for family in self.families for one in family.samples if one.name == name]
        return next((one.value for one in samples if labels.items() <= one.labels.items()), None)

    def told(self) -> dict[str, Told]:
        """Name as Prometheus stores it, a histogram's without suffix."""
        found = {}
        for family in self.families:
            labels = frozenset(name for sample in family.samples for name in sample.labels) - {"le"}
            found[family.name + ("_total" if family.type == "counter" else "")] = Told(family.type, labels)
        return found

    def samples(self) -> set[str]:
        return {sample.name for family in self.families for sample in family.samples}


def followed(node: Node) -> Metrics:
    metrics = t.cast("Metrics", node.metrics)
    metrics.follow(node.engine, lambda: node.settings, node.instance_id)
    return metrics


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Scrape:
    """Of an agent that has seen everything which makes a sample: pods, failures, a cloud that refuses and goes away."""
    with Node(tmp_path_factory.mktemp("node"), metrics=Metrics()) as node:
        metrics = followed(node)
        node.run(30)
        node.add("c1", 101)
        node.emulator.faults.order({"action": "*", "kind": "http_status", "status": 502, "count": 500})
        node.run(40)
        metrics.called("ADD", "ok", 0.05, dict.fromkeys(telemetry.PHASES["ADD"], 0.01))
        metrics.called("DEL", "Timeout", 30.0, dict.fromkeys(telemetry.PHASES["DEL"], 10.0))
        return Scrape(metrics)


# -- the pool at a scrape ----------------------------------------------------------------------------------------------


def test_nics_are_counted_by_state_and_vxnet_and_what_is_not_there_is_zero(tmp_path: Path) -> None:
    with Node(tmp_path, metrics=Metrics(), vxnet=(PODS, "vxnet-pods002")) as node:
        metrics = followed(node)
        node.run(30)
        node.add("c1", 101)
        node.add("c2", 102)
        node.delete("c2")
        seen = Scrape(metrics)
        for state, count in ((State.READY, 1), (State.IN_USE, 1), (State.QUARANTINE, 1), (State.BROKEN, 0)):
            assert seen.value("qingagent_nics", state=state.value, vxnet=PODS) == count
        assert seen.value("qingagent_nics", state="READY", vxnet="vxnet-pods002") == 0
        assert seen.value("qingagent_leases") == 1
        assert seen.value("qingagent_pool_used_nics") == 1
        assert seen.value("qingagent_pool_warm_target_nics") == seen.value("qingagent_pool_low_nics") == 3
        assert seen.value("qingagent_pool_cap_nics") == 60
        assert seen.value("qingagent_ready") == seen.value("qingagent_instance_proven") == 1
        assert seen.value("qingagent_instance_info", instance_id=INSTANCE) == 1


def test_the_age_of_the_last_look_grows_until_the_next_one(tmp_path: Path) -> None:
    with Node(tmp_path, metrics=Metrics()) as node:
        metrics = followed(node)
        assert Scrape(metrics).value("qingagent_reconcile_age_seconds") is None
        node.engine.reconciler.step()
        assert Scrape(metrics).value("qingagent_reconcile_age_seconds") == 0
        node.clock.advance(50)
        assert Scrape(metrics).value("qingagent_reconcile_age_seconds") == 50


def test_a_steal_and_what_was_left_behind_are_counted(tmp_path: Path) -> None:
    with Node(tmp_path, metrics=Metrics(), pool_low=1, pool_high=1, max_nics=1, quarantine_min=0.0) as node:
        metrics = followed(node)
        node.run(30)
        node.add("c1", 101)
        node.delete("c1")
        node.engine.survey.clean()
        taken = node.add("c2", 102)
        assert Scrape(metrics).value("qingagent_quarantine_steals_total") == 1
        node.clock.advance(1)
        node.kernel.from_pod(taken.nic_id, 102, "eth0", 0)  # a DEL, half done
        node.engine.survey.run()
        assert Scrape(metrics).value("qingagent_leaks_found_total", kind="lease") == 0
        node.engine.survey.clean()
        taken = node.add("c3", 103)
        node.clock.advance(1)
        node.kernel.kill_netns(103)
        assert Scrape(metrics).value("qingagent_leaks_found_total", kind="lease") == 1
        with node.kernel.lock:
            del node.kernel.links[taken.nic_id]
        node.engine.survey.run()
        node.engine.survey.run()
        assert Scrape(metrics).value("qingagent_leaks_found_total", kind="link") == 1


def test_a_cloud_that_is_away_is_told(busy: Scrape) -> None:
    assert busy.value("qingagent_cloud_request_duration_seconds_count", action="DescribeNics", outcome="Unreachable")
    assert busy.value("qingagent_cloud_request_duration_seconds_count", action="CreateNics", outcome="ok") == 1
    assert busy.value("qingagent_trouble", kind="Unreachable") == 1
    assert busy.value("qingagent_cloud_breaker_state", state="CLOSED") == 0
    assert (busy.value("qingagent_cloud_away_seconds") or 0) > 0
    assert (busy.value("qingagent_cloud_limiter_calls_total", action="DescribeNics") or 0) > 3


# -- calls -------------------------------------------------------------------------------------------------------------


class Caller:
    """A plugin whose clock says a second more each time that somebody looks."""

    def __init__(self, listener: telemetry.Telemetry) -> None:
        self.now = 1000.0
        self.pool = ScriptedPool(nic(1), clock=self.clock)
        self.links = ScriptedLinks(nic(1).nic_id)
        verbs = Verbs(self.pool, self.links, self.clock)
        self.plugin = Plugin(verbs, "127.0.0.1:31080", self.clock, lambda: (0, 0), listener)

    def clock(self) -> float:
        self.now += 1.0
        return self.now

    def ask(self, verb: str, ago: float = 5.0, **config: str) -> int:
        env = {"CNI_CONTAINERID": "c1", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0", "CNI_PATH": "/x", "CNI_COMMAND": verb}
        stdin = json.dumps({"cniVersion": "1.0.0", "name": "pods", "type": "qingcni", **config})
        with Path("/proc/self/ns/net").open("rb") as netns:
            request = Request("cni", "r1", self.now + 500, self.now - ago, env, stdin)
            return self.plugin.handle(request, netns.fileno(), lambda: False).exit


def sums(metrics: Metrics, verb: str) -> dict[str, float]:
    """Phase ► seconds, whatever the outcome."""
    families = Scrape(metrics).families
    samples = [one for family in families for one in family.samples if one.name == "qingcni_phase_duration_seconds_sum"]
    return {one.labels["phase"]: one.value for one in samples if one.labels["verb"] == verb}


def test_the_phases_of_a_call_make_up_its_time(tmp_path: Path) -> None:
    metrics = Metrics()
    caller = Caller(metrics)
    assert caller.ask("ADD") == 0
    add = sums(metrics, "ADD")
    assert list(add) == ["queue", "reserve", "gateway", "turn", "move", "commit"]  # links of tests do not configure
    assert add["queue"] > 5 and min(add.values()) >= 1
    assert sum(add.values()) == Scrape(metrics).value("qingcni_request_duration_seconds_sum", verb="ADD", outcome="ok")
    assert caller.ask("DEL", ago=0.5) == 0
    assert list(sums(metrics, "DEL")) == ["queue", "fetch", "commit"]


def test_a_call_that_fails_tells_how_and_what_its_undoing_took() -> None:
    metrics = Metrics()
    caller = Caller(metrics)
    caller.pool.fail["commit"] = PoolEmpty("no more")
    assert caller.ask("ADD") == 1
    seen = Scrape(metrics)
    assert seen.value("qingcni_request_duration_seconds_count", verb="ADD", outcome="PoolEmpty") == 1
    assert seen.value("qingcni_phase_duration_seconds_count", verb="ADD", phase="undo", outcome="failed") == 1
    assert seen.value("qingcni_request_duration_seconds_count", verb="ADD", outcome="ok") == 0


def test_a_del_that_lay_in_the_spool_has_not_taken_all_that_time() -> None:
    metrics = Metrics()
    Caller(metrics).ask("DEL", ago=900.0)
    assert sums(metrics, "DEL")["queue"] < 10


def test_what_callers_write_makes_no_series() -> None:
    metrics = Metrics()
    for verb in ("ADD", "FLY", "x" * 100, "\u202e"):
        metrics.called(verb, "ok", 1.0, {"queue": 0.5, "dance": 0.5})
    samples = [one for family in Scrape(metrics).families for one in family.samples]
    assert {one.labels["verb"] for one in samples if "verb" in one.labels} == {"ADD", "DEL", "other"}
    assert {one.labels["phase"] for one in samples if "phase" in one.labels} == {"queue"}


def test_nobody_listens_and_nothing_is_timed() -> None:
    """Each look at the clock would say so: with a listener there are more."""
    silent, heard = Caller(telemetry.SILENCE), Caller(Metrics())
    assert silent.ask("ADD") == heard.ask("ADD") == 0
    assert heard.now - silent.now >= len(telemetry.PHASES["ADD"]) - 2
    began = time.perf_counter()
    for __ in range(20000):
        telemetry.phase(telemetry.MOVE)
    assert time.perf_counter() - began < 0.2  # 10 us each, where 0.2 are usual


def test_a_network_may_ask_for_the_phases_of_its_calls(caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()
    caller = Caller(metrics)
    with caplog.at_level(logging.DEBUG, "hostnic.cni"):
        assert caller.ask("ADD", logLevel="debug") == 0
    (told,) = [record for record in caplog.records if "phase by phase" in record.getMessage()]
    shown = {name: float(value) for name, value in told.fields.items()}  # type: ignore[attr-defined]
    add = sums(metrics, "ADD")
    assert list(shown) == ["asked_at", "wire", *add]
    assert 5000 <= shown["wire"] < shown["queue"] == 1000 * add["queue"]
    assert 0 < shown["commit"] <= 1000 * add["commit"]


def test_nobody_has_asked_for_the_phases_and_they_are_not_worked_out(caplog: pytest.LogCaptureFixture) -> None:
    """Each look at the clock would say so."""
    silent, heard = Caller(Metrics()), Caller(Metrics())
    with caplog.at_level(logging.DEBUG, "hostnic.cni"):
        assert silent.ask("ADD", logLevel="info") == heard.ask("ADD", logLevel="debug") == 0
    assert len([record for record in caplog.records if "phase by phase" in record.getMessage()]) == 1
    assert heard.now == silent.now + 1


def test_a_missing_client_is_named_with_a_remedy() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(CLONE / 'plugins/module_utils')!r})\n"
        "from hostnic.agent.metrics import Metrics\nfrom hostnic.errors import InvalidConfig\n"
        "try:\n    Metrics()\nexcept InvalidConfig as error:\n    sys.stdout.write(error.message)"
    )
    run = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("the Python package prometheus-client is missing: install it, on nodes with the role")


# -- names -------------------------------------------------------------------------------------------------------------


def documented() -> dict[str, Told]:
    """The table of docs/metrics.md."""
    rows = re.findall(r"^\| `([a-z_]+)` \| (\w+) \| ([^|]*) \|", (CLONE / "docs/metrics.md").read_text(), re.MULTILINE)
    return {name: Told(kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def used(expression: str) -> set[str]:
    """The metrics that an expression of PromQL names: what stands before braces, or looks like ours."""
    bare = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b((?:qing[a-z]+|process)_[a-z_]+|up)\b", bare)) | set(re.findall(r"(\w+)\s*{", bare))


def dashboard() -> dict[str, t.Any]:
    return t.cast("dict[str, t.Any]", json.loads((CLONE / "files/observability/dashboard.json").read_text()))


def expressions() -> dict[str, str]:
    """Of dashboard and alerts, by where they stand."""
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            found[f"{panel['title']} {target['refId']}"] = target["expr"]
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            found[variable["name"]] = variable["definition"].removeprefix("label_values(").partition(",")[0]
    rules = yaml.safe_load((CLONE / "files/observability/alerts.yml").read_text())
    found.update({rule["alert"]: rule["expr"] for group in rules["groups"] for rule in group["rules"]})
    return found


def test_what_is_exported_is_documented_and_the_other_way_round(busy: Scrape) -> None:
    told = {name: told for name, told in busy.told().items() if not name.startswith("process_")}
    assert told == documented()


@pytest.mark.parametrize("place", expressions())
def test_dashboard_and_alerts_name_only_what_is_exported(busy: Scrape, place: str) -> None:
    names = used(expressions()[place])
    assert names, place
    assert names - busy.samples() <= STANDARD, place


def test_an_expression_that_names_something_else_is_noticed() -> None:
    assert used('sum by (le) (rate(qingcni_x_total{verb="qingcni_y"}[5m])) / other{a="b"}') == {
        "qingcni_x_total",
        "other",
    }


def test_labels_of_expressions_are_exported(busy: Scrape) -> None:
    """A misspelt label selects nothing, and an alert that selects nothing never fires."""
    told = busy.told()
    for place, expression in expressions().items():
        for name, selector in re.findall(r"(\w+){([^}]*)}", expression):
            family = re.sub(r"_(bucket|sum|count)$", "", name)
            labels = set(re.findall(r"(\w+)\s*[!=]=?~?\s*\"", selector)) - {"job", "instance", "le"}
            assert not labels - told.get(family, Told("", frozenset())).labels, f"{place}: {name}"


def test_the_dashboard_is_laid_out(busy: Scrape) -> None:
    """Panels in rows that answer a question each, none upon another, each of the data source that is chosen."""
    panels = dashboard()["panels"]
    rows = [panel["title"] for panel in panels if panel["type"] == "row"]
    assert rows == ["What is wrong", "Pool", "ADD and DEL", "Cloud", "Leaks", "Agents"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"])
                 for y in range(place["y"], place["y"] + place["h"])}  # fmt: skip
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        sources = [panel.get("datasource"), *(one["datasource"] for one in panel.get("targets", []))]
        assert panel["type"] == "row" or all(one["uid"] == "${datasource}" for one in sources), panel["title"]


def test_runbooks_lead_to_a_heading() -> None:
    rules = yaml.safe_load((CLONE / "files/observability/alerts.yml").read_text())
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        page, __, heading = rule["annotations"]["runbook"].partition("#")
        titles = re.findall(r"^## (.+)$", (CLONE / page).read_text(), re.MULTILINE)
        assert heading in {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}, rule["alert"]
