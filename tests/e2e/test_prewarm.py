# SPDX-License-Identifier: GPL-3.0-or-later
"""Where an agent runs, warming asks it. Nodes without one are warmed in test_lifecycle."""

from __future__ import annotations

import json
import typing as t

from tests.e2e.cluster import Cluster

ACCESS: t.Final = {
    "endpoint": "{{ qingagent_protocol }}://{{ qingagent_host }}:{{ qingagent_port }}/iaas",
    "access_key_id": "{{ qingagent_access_key_id }}",
    "secret_access_key": "{{ qingagent_secret_access_key }}",
    "zone": "{{ qingagent_zone }}",
    "vxnet": "{{ qingagent_vxnet[0] }}",
}


def nic(cluster: Cluster, state: str, *words: str, **options: t.Any) -> tuple[bool, str]:
    """`qingcloud_nic` ad hoc, by its short name: whether it changed something, and what was printed."""
    arguments = json.dumps({**ACCESS, "state": state, **options})
    done = cluster.ansible("ansible", "all", "-m", "qingcloud_nic", "-a", arguments, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert cluster.lab.api.secret_access_key not in done.stdout + done.stderr
    return "CHANGED" in done.stdout, done.stdout


def test_a_running_agent_is_asked(cluster: Cluster) -> None:
    node = cluster.nodes[0]
    one = Cluster(cluster.lab, (node,))
    with cluster.short_rest(node):
        before = len(cluster.wait_rest(node))
        changed, said = nic(one, "attached", "--check", "--diff", count=before + 2)
        assert changed and "asked: agent" in said
        changed, said = nic(one, "attached", "--diff", count=before + 2)
        assert changed and "asked: agent" in said
        assert len(cluster.in_state(node, "READY")) == before + 2
        assert "ok=1    changed=0" in one.play("prewarm", "-e", f"prewarm_count={before + 2}")
        refused = one.ansible(
            "ansible", "all", "-m", "qingcloud_nic", "-a", json.dumps({**ACCESS, "state": "detached"})
        )
        assert "qingcloud.cni.hostnic_pool" in refused.stdout and refused.returncode != 0

        pod = cluster.pod(node, "busy")
        used = cluster.in_state(node, "IN_USE")
        assert nic(one, "absent")[0], "what was warmed is given back"
        assert used <= cluster.cloud_nics(node).keys() and pod.netns
        cluster.stop(pod)
