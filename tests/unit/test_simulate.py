# SPDX-License-Identifier: GPL-3.0-or-later
"""`qingagent simulate`: the pool's own code, in time that costs nothing."""

from __future__ import annotations

import json
import typing as t
from dataclasses import replace
from pathlib import Path

import pytest

from hostnic.commands import cli
from hostnic.config import Settings
from hostnic.errors import InvalidConfig
from hostnic.simulation.figures import advise, figures
from hostnic.simulation.flow import Flow
from hostnic.simulation.run import Result, Scenario, Step, simulate
from hostnic.simulation.world import VXNET

SETTINGS = Settings(vxnet=(VXNET,), pool_low=2, pool_high=8)
# ten pods at once meet two ready NICs: eight wait for a create and an attach
BURST = Scenario((Step(0.0, 0.0), Step(60.0, 0.0, 10)), duration=120.0, lifetime=1000.0)


@pytest.fixture(scope="module")
def burst() -> Result:
    return simulate(SETTINGS, BURST)


def test_those_who_find_no_warm_nic_wait_for_one_lead_time(burst: Result) -> None:
    lead = BURST.job_time + 2 * BURST.call_time
    assert sorted(wait == 0 for wait in burst.waits) == [False] * 8 + [True] * 2
    assert all(lead <= wait <= lead + 2 for wait in burst.waits if wait)
    assert (burst.pods, burst.refused) == (10, 0)


def test_the_same_is_the_same_each_time_and_another_seed_is_not() -> None:
    random = Scenario((Step(0.0, 0.2),), duration=120.0, lifetime=30.0)
    assert simulate(SETTINGS, random) == simulate(SETTINGS, random)
    assert random.pods() != replace(random, seed=2).pods()


def test_more_warm_nics_are_advised_by_having_tried_them(burst: Result) -> None:
    found = figures(burst, BURST)
    assert (found.pods, found.at_once, found.median > 3) == (10, 0.2, True)
    advice = advise(SETTINGS, BURST, burst, found, 1.0)
    assert dict(advice.settings) == {"pool-low": 16, "pool-high": 16}
    better = replace(SETTINGS, pool_low=16, pool_high=16)
    assert max(simulate(better, BURST).waits) == 0
    assert advise(SETTINGS, BURST, burst, found, 60.0).settings == {}


def test_a_node_that_is_full_needs_fewer_pods_and_no_warm_nics() -> None:
    crowd = Scenario((Step(0.0, 0.5),), duration=120.0, lifetime=1000.0)
    small = replace(SETTINGS, max_nics=8)
    result = simulate(small, crowd)
    found = figures(result, crowd)
    assert (found.peak, found.cap, found.refused > 0) == (8, 8, True)
    assert advise(small, crowd, result, found, 1.0).sentence.startswith("This node is full (8 NICs)")


def test_calls_keep_to_the_rate_that_is_set() -> None:
    slow = replace(SETTINGS, api_rate=0.5)
    calls = simulate(slow, BURST).calls
    assert all(later - earlier >= 1.9 for earlier, later in zip(calls, calls[1:]))


def test_time_passes_from_event_to_event_and_ends_when_woken() -> None:
    flow, seen = Flow(), []
    begin = flow.clock()
    for after in (2.0, 1.0, 3.0):
        flow.at(begin + after, lambda: seen.append(flow.clock() - begin))
    flow.sleep(10.0, lambda: len(seen) == 2)
    assert (seen, flow.clock() - begin) == ([1.0, 2.0], 2.0)
    flow.sleep(0.5)
    assert (len(seen), flow.clock() - begin) == (2, 2.5)


def call(*words: str) -> int:
    return cli.main(["simulate", "--duration", "2m", *words])


def test_it_prints_figures_charts_and_what_to_set(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ("--profile", "0s:0/s,1m+10", "--pool-low", "2", "--lifetime", "1h")
    assert call(*words) == 0
    out, err = capfd.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert lines[0] == "pods        10, of which 20.0% got their NIC at once"
    assert lines[1].startswith("waiting     half up to 4.")
    assert lines[-1] == "Set pool-low to 16 and pool-high to 16: then 99 of 100 pods wait 0.0 s or less."
    assert [line.split()[0] for line in lines[2:-1]] == ["NICs", "API", "running", "warm", "ready"]
    assert "█" in lines[4] and lines[4].endswith("0..10")
    call(*words, "--output", "json")
    told = json.loads(capfd.readouterr().out)
    assert (told["pods"], told["at_once"], told["advised"]) == (10, 0.2, {"pool-low": 16, "pool-high": 16})
    assert told["settings"]["pool-low"] == 2 and len(told["samples"]) == 120


def test_the_settings_of_this_machine_are_what_it_begins_with(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "QingAgent.yaml").write_text("vxnet: vxnet-a1\npool-low: 5\npool-high: 7\n")
    call("--rate", "0", "--pool-high", "9", "--output", "json")
    settings = json.loads(capfd.readouterr().out)["settings"]
    assert (settings["pool-low"], settings["pool-high"]) == (5, 9)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rate", "often"], "'often' is no rate of pods: write it like 0.5/s, 30/m or 100/h"),
        (["--profile", "soon+3"], "--profile: 'soon' is no duration"),
        (["--profile", "1m+2+3"], "--profile: '1m+2+3' is no step"),
        (["--lifetime", "0s"], "--lifetime is 0"),
        (["--pool-low", "9"], "pool-low is 9, more than pool-high"),
    ],
)
def test_what_cannot_be_simulated_is_told(
    words: list[str], said: str, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(*words) == 1
    out, err = capfd.readouterr()
    assert (out, said in err) == ("", True)


def test_a_rate_per_minute_or_hour() -> None:
    from hostnic.commands.simulate import _profile, _rate

    assert (_rate("30/m"), _rate("3600/h"), _rate("2")) == (0.5, 1.0, 2.0)
    assert _profile("10m+30, 0s:6/m") == (Step(0.0, 0.1), Step(600.0, 0.0, 30))
    with pytest.raises(InvalidConfig):
        t.cast(t.Any, _profile)("")
