# SPDX-License-Identifier: GPL-3.0-or-later
"""A node is warmed before anything was installed on it; its agent takes over, and is asked from then on."""

from __future__ import annotations

import json
import typing as t

from tests.e2e.cluster import Cluster, fresh_node
from tests.lab.wait import until

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


def test_a_fresh_node_is_warmed_and_its_agent_takes_over(cluster: Cluster) -> None:
    with fresh_node() as fresh:
        node = fresh.nodes[0]

        def ours() -> set[str]:
            return {
                mac for mac, one in fresh.cloud_nics(node).items() if one["nic_name"] == f"qingcni_{node.instance_id}"
            }

        changed, said = nic(fresh, "attached", "--check", "-vvvv", count=5)
        assert changed and said.count("Using module file") == 2, "packages are sent once more than the module"
        assert ours() == set() and node.run(["test", "-e", "/usr/lib/hostnic"], check=False).returncode != 0
        assert nic(fresh, "attached", "-vvvv", count=5)[0]
        changed, said = nic(fresh, "attached", "-vvvv", count=5)
        assert not changed and said.count("Using module file") == 1
        assert len(ours()) == 5 and ours() <= fresh.host_links(node).keys()
        assert nic(fresh, "absent", count=1)[0] and len(ours()) == 4, "no pod uses what lies on the host"
        assert "ok=1    changed=1" in fresh.play("prewarm", "-e", "prewarm_count=6")
        assert "ok=1    changed=0" in fresh.play("prewarm", "-e", "prewarm_count=6")
        warmed = ours()
        assert len(warmed) == 6

        fresh.play("site")
        until(lambda: fresh.in_state(node, "READY") >= warmed, 90, "the NICs that were there in the pool")
        assert all(fresh.pool(node)[mac]["prewarmed"] for mac in warmed)

        before = fresh.in_state(node, "READY")
        changed, said = nic(fresh, "attached", "--diff", count=len(before) + 2)
        assert changed and "asked: agent" in said
        assert len(fresh.in_state(node, "READY")) == len(before) + 2
        assert not nic(fresh, "attached", count=len(before) + 2)[0]
        refused = fresh.ansible(
            "ansible", "all", "-m", "qingcloud_nic", "-a", json.dumps({**ACCESS, "state": "detached"})
        )
        assert "qingcloud.cni.hostnic_pool" in refused.stdout and refused.returncode != 0

        pod = fresh.pod(node, "busy")
        used = fresh.in_state(node, "IN_USE")
        assert nic(fresh, "absent")[0], "what was warmed is given back"
        assert used <= ours() and pod.netns
        fresh.stop(pod)
