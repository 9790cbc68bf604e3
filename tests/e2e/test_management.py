# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node tells its own monitoring, by the unit's agent: and that nobody else is told."""

from __future__ import annotations

import json
import typing as t

from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.cluster import Cluster
from tests.lab.lab import Node
from tests.lab.wait import until

_GET = "import sys, urllib.request as u; sys.stdout.write(u.urlopen(sys.argv[1], timeout=10).read().decode())"


def get(node: Node, path: str) -> str:
    return str(node.run(["/usr/bin/python3", "-c", _GET, f"http://127.0.0.1:31081{path}"]).stdout)


def samples(node: Node) -> dict[tuple[t.Any, ...], float]:
    """Of /metrics, by name and labels."""
    families = text_string_to_metric_families(get(node, "/metrics"))
    found = [sample for family in families for sample in family.samples]
    return {(one.name, *sorted(one.labels.items())): one.value for one in found}


def test_a_pod_shows_in_the_metrics_and_its_nic_in_the_pages(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    assert (get(node, "/healthz"), get(node, "/readyz")) == ("alive\n", "ready\n")
    added = ("qingcni_request_duration_seconds_count", ("outcome", "ok"), ("verb", "ADD"))
    moved = (
        "qingcni_phase_duration_seconds_count", ("outcome", "ok"), ("phase", "configure"), ("verb", "ADD"),
    )  # fmt: skip
    before = samples(node)
    placed = cluster.pod(node, "measured")
    (link,) = placed.ip("link", "show", "dev", "eth0")
    after = samples(node)
    assert [after[name] - before.get(name, 0) for name in (added, moved)] == [1, 1]
    assert after["qingagent_leases",] == before["qingagent_leases",] + 1
    (nic,) = (nic for nic in json.loads(get(node, "/v1/nics")) if nic["nic_id"] == link["address"])
    assert nic["state"] == "IN_USE"
    assert json.loads(get(node, "/v1/plan"))["used"] == after["qingagent_pool_used_nics",]
    cluster.stop(placed)
    until(lambda: samples(node)["qingagent_leases",] == before["qingagent_leases",], 30, "the lease's end")


def test_it_listens_on_the_loopback_alone(cluster: Cluster) -> None:
    listening = cluster.nodes[0].run(["ss", "-Hltn", "sport = :31081"]).stdout.split()
    assert listening[3] == "127.0.0.1:31081"


def test_a_port_that_another_program_has_is_told_and_costs_no_pod(cluster: Cluster) -> None:
    """The thief comes while the agent is away, and goes while it runs."""
    node = cluster.nodes[0]
    cluster.wait_ready(node)
    thief = (
        "import socket; s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1); "
        "s.bind(('127.0.0.1', 31081)); s.listen(); s.accept()"
    )
    node.run(["systemctl", "stop", "qingagent.service"])
    node.run(["systemd-run", "--unit=thief", "--collect", "/usr/bin/python3", "-c", thief])
    try:
        until(lambda: node.run(["ss", "-Hltn", "sport = :31081"]).stdout, 30, "the thief")
        told = cluster.ask(node, "status")  # starts the agent
        assert [one["what"].partition(",")[0] for one in told["problems"] if "manageaddr" in one["what"]] == [
            "manageaddr 127.0.0.1:31081 is taken by another program"
        ]
        cluster.stop(cluster.pod(node, "unmeasured"))
    finally:
        node.run(["systemctl", "stop", "thief.service"], check=False)
    until(lambda: node.run(["ss", "-Hltn", "sport = :31081"]).stdout, 30, "the agent's own")
    assert get(node, "/healthz") == "alive\n"
