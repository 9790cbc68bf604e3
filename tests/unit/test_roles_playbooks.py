# SPDX-License-Identifier: GPL-3.0-or-later
"""Units and playbooks: what must be so for the promises to hold, as far as text tells."""

from __future__ import annotations

import re
import typing as t

import yaml

from plugins.module_utils.hostnic.config import Settings
from tests.support.ansible import CLONE


def load(path: str) -> t.Any:
    return yaml.safe_load((CLONE / path).read_text())


def tasks(items: list[dict[str, t.Any]]) -> t.Iterator[dict[str, t.Any]]:
    """Those in blocks too."""
    for item in items:
        inner = [task for key in ("block", "rescue", "always") for task in item.get(key, [])]
        yield from tasks(inner) if inner else [item]


def test_the_configuration_is_written_after_the_agent_answers() -> None:
    [play] = load("playbooks/site.yml")
    roles = [task["ansible.builtin.import_role"] for task in play["tasks"]]
    assert [(role["name"].rpartition(".")[2], role.get("tasks_from", "main")) for role in roles] == [
        ("qingcni", "preflight"),
        ("qingagent", "main"),
        ("qingcni", "rollout"),
    ]
    files = {name: [task["ansible.builtin.import_tasks"] for task in load(f"roles/qingcni/tasks/{name}.yml")]
             for name in ("main", "rollout")}  # fmt: skip
    assert files == {"main": ["preflight.yml", "rollout.yml"], "rollout": ["install.yml", "run.yml", "configure.yml"]}
    assert "until: __qingcni_explained is success" in (CLONE / "roles/qingcni/tasks/run.yml").read_text()


def test_verify_only_reads_and_ends_the_pods_that_it_starts() -> None:
    """Modules that cannot write, and commands that say that they do not."""
    [play] = load("playbooks/verify.yml")
    readers = {"assert", "slurp", "stat", "debug"}
    for task in tasks(play["tasks"]):
        [module] = [key for key in task if "." in key]
        short = module.rsplit(".", 1)[1]
        assert short in readers or short == "hostnic_runtime_info" or task["changed_when"] is False, task["name"]
    [trial] = [task for task in play["tasks"] if "block" in task]
    [end] = trial["always"]
    assert end["qingcloud.cni.hostnic_trial_pod"] == {"state": "absent"}


def test_an_upgrade_stops_at_the_first_node_that_fails() -> None:
    """Nothing begins while a node is away, and no batch follows one with a failure in it."""
    before, one_by_one = load("playbooks/upgrade.yml")
    assert before["any_errors_fatal"] is True
    assert one_by_one["max_fail_percentage"] == 0
    assert "any_errors_fatal" not in one_by_one  # which would roll back the sound nodes of a batch with the others
    # a node that is away counts for nothing above: it goes on, until a task fails that needs no connection
    assert one_by_one["ignore_unreachable"] is True and one_by_one["timeout"]
    away = [task["when"] for task in tasks(one_by_one["tasks"]) if task.get("when", "").endswith("is unreachable")]
    assert away == ["upgrade_before is unreachable", "upgrade_after is unreachable"]


def test_units_start_what_the_installation_links() -> None:
    service = (CLONE / "files/units/qingagent.service").read_text()
    assert "Requires=qingagent-netns.service qingagent.socket\n" in service
    assert "Also=qingagent.socket qingagent-netns.service\n" in service
    units = {path.name: path.read_text() for path in (CLONE / "files/units").iterdir()}
    assert sorted(units) == ["qingagent-netns.service", "qingagent.service", "qingagent.socket"]
    assert "ExecStart=/usr/local/sbin/qingagent start\n" in units["qingagent.service"]
    assert "ExecStart=/usr/local/sbin/qingagent parking\n" in units["qingagent-netns.service"]


def test_the_unit_that_makes_the_namespace_has_no_mounts_of_its_own() -> None:
    """With any of these the namespace would end with the unit, and every parked NIC would leave it."""
    text = (CLONE / "files/units/qingagent-netns.service").read_text()
    words = (
        "Protect",
        "Private",
        "ReadWritePaths",
        "ReadOnlyPaths",
        "TemporaryFileSystem",
        "RuntimeDirectory",
        "Mount",
    )
    assert [word for word in words if re.search(rf"^{word}", text, re.MULTILINE)] == []


def test_the_service_does_not_own_the_sockets_directory() -> None:
    """It would delete the socket when it stops, and calls made meanwhile would fail instead of waiting."""
    service = (CLONE / "files/units/qingagent.service").read_text()
    assert "RuntimeDirectory" not in service and "StartLimitIntervalSec=0" in service
    assert f"ListenStream={Settings().rundir}/qingagent.sock" in (CLONE / "files/units/qingagent.socket").read_text()
