# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent makes of a probe's result: read, fitted to settings, and begun with."""

from __future__ import annotations

import dataclasses
import json
import logging
import typing as t
from pathlib import Path

import pytest

from hostnic.config import Settings
from hostnic.probed import Probed, read
from tests.emulator import Settings as CloudSettings
from tests.support.node import Node


def write(tmp_path: Path, content: t.Any) -> Path:
    path = tmp_path / "probe.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


MEASURED: t.Final = {
    "parallel_jobs_per_instance": "queue",
    "attach_list_max": 20,
    "detach_list_max": 0,
    "delete_list_max": 7,
    "nics_per_instance": 32,
    "job_pending_seconds": 1.5,
    "job_working_seconds": 4.0,
    "job_seconds_per_nic": 0.5,
    "api_latency": 0.25,
    "nic_name_match": "prefix",
}


def test_what_is_used_of_it(tmp_path: Path) -> None:
    assert read(write(tmp_path, MEASURED)) == Probed(nic_limit=32, serial=True, list_max=7, lead_time=6.5)


def test_its_names_are_those_that_the_probe_writes() -> None:
    assert set(MEASURED) <= {field.name for field in dataclasses.fields(CloudSettings)}


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ({}, Probed()),
        ({"parallel_jobs_per_instance": "refuse"}, Probed(serial=True)),
        ({"parallel_jobs_per_instance": "allow", "nics_per_instance": 0, "attach_list_max": 0}, Probed()),
        ({"job_working_seconds": 4.0}, Probed()),
        ({"nics_per_instance": "many", "attach_list_max": True, "delete_list_max": -1}, Probed()),
    ],
)
def test_what_was_not_measured_or_makes_no_sense_is_as_without_it(
    tmp_path: Path, content: dict[str, t.Any], wanted: Probed
) -> None:
    assert read(write(tmp_path, content)) == wanted


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_file_that_is_none_does_not_stop_the_agent(
    tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert read(write(tmp_path, content)) == Probed()
    assert "probe.json holds nothing that was measured: write it anew with the playbook probe" in caplog.text
    assert read(tmp_path / "nothing.json") == Probed()


@pytest.mark.parametrize(
    ("list_max", "chunk", "origin", "wanted"),
    [(5, 10, "default", 5), (20, 10, "default", 10), (5, 8, "--attach-chunk", 8), (0, 10, "default", 10)],
)
def test_what_somebody_has_set_wins(list_max: int, chunk: int, origin: str, wanted: int) -> None:
    settings = Settings(attach_chunk=chunk)
    assert Probed(list_max=list_max).fitted(settings, {"attach-chunk": origin}).attach_chunk == wanted


def refused(node: Node) -> dict[str, t.Any]:
    found: dict[str, t.Any] = node.emulator.counters.to_dict()["rejected"]
    return found


@pytest.mark.parametrize("known", [True, False])
def test_jobs_that_run_one_at_a_time_are_sent_so_from_the_beginning(tmp_path: Path, known: bool) -> None:
    cloud = CloudSettings(parallel_jobs_per_instance="refuse")
    with Node(tmp_path, cloud=cloud, probed=Probed(serial=known), pool_low=20, pool_high=20, attach_chunk=5) as node:
        node.run(60)
        assert len([nic for nic in node.in_cloud().values() if nic == "in-use"]) == 20
        assert ("AttachNics" in refused(node)) is not known
        assert node.explain()["attach_jobs"] == "one at a time"


@pytest.mark.parametrize("known", [True, False])
def test_lists_are_no_longer_than_the_cloud_takes(tmp_path: Path, known: bool) -> None:
    """One job at a time would carry as many NICs as possible."""
    cloud = CloudSettings(parallel_jobs_per_instance="refuse", attach_list_max=4)
    probed = Probed(serial=True, list_max=4 if known else 0)
    with Node(tmp_path, cloud=cloud, probed=probed, pool_low=10, pool_high=10, attach_chunk=4) as node:
        node.run(60)
        assert set(node.in_cloud().values()) == {"in-use"}
        assert ("AttachNics" in refused(node)) is not known


@pytest.mark.parametrize("known", [True, False])
def test_no_nic_is_made_for_a_place_that_the_instance_does_not_have(tmp_path: Path, known: bool) -> None:
    cloud = CloudSettings(nics_per_instance=6)
    with Node(tmp_path, cloud=cloud, probed=Probed(nic_limit=6 if known else 64), pool_low=8, pool_high=8) as node:
        node.run(60)
        assert ("AttachNics" in refused(node)) is not known
        assert (len(node.in_cloud()) == 5) is known
        assert node.explain()["limit"] == 6


def test_the_lead_time_is_what_was_measured_until_it_has_one_of_its_own(tmp_path: Path) -> None:
    with Node(tmp_path, probed=Probed(lead_time=9.0)) as node:
        assert node.explain()["lead_time"] == 9.0
        node.run(20)
        assert node.explain()["lead_time"] < 9.0
