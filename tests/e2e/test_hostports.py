# SPDX-License-Identifier: GPL-3.0-or-later
"""Ports of the node that lead to a pod, by the distribution's portmap: requests come by the host, and so do replies."""

from __future__ import annotations

from functools import partial

from tests.e2e.cluster import Cluster
from tests.e2e.networks import PORTMAP, by_the_host
from tests.e2e.runtimes import Runtime, told
from tests.lab.wait import until

FIRST, SECOND = 18080, 18081  # ports of the node
ASK = "import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())"


def test_a_port_of_the_node_leads_to_the_pod(cluster: Cluster, runtime: Runtime) -> None:
    node = runtime.node
    names = {FIRST: "first", SECOND: "second"}
    with runtime.network("hostports", by_the_host(cluster.lab.vxnets[0]), PORTMAP):
        pods = {port: runtime.start(name, port) for port, name in names.items()}
        assert len({pod.mac() for pod in pods.values()}) == len(pods)
        for port, name in names.items():
            until(partial(told, node, port), 20, f"an answer at port {port}")
            assert told(node, port) == name

        # from a pod of another node, whose replies must not come straight from the pod
        asker = cluster.pod(cluster.nodes[1], "asker")
        for port, name in names.items():
            got = asker.run(["python3", "-c", ASK, f"http://{node.address}:{port}/name"]).stdout
            assert got.strip() == name

        runtime.stop(names[FIRST])
        assert told(node, FIRST) == ""
        assert told(node, SECOND) == names[SECOND]
        runtime.stop(names[SECOND])
        assert "dnat" not in node.run(["iptables", "-t", "nat", "-S", "CNI-HOSTPORT-DNAT"]).stdout
    cluster.wait_sound(node)
