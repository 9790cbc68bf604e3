# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.lab``; ``--help`` says how."""

from __future__ import annotations

import argparse
import os
import sys
import typing as t

from tests.lab import bringup, lock, pods, site, teardown
from tests.lab.errors import LabError
from tests.lab.lab import Lab, Node
from tests.lab.paths import LAB_JSON
from tests.lab.progress import Progress
from tests.lab.table import table
from tests.lab.world import NETWORK


def main(argv: t.Sequence[str] | None = None) -> int:
    arguments = _parser().parse_args(argv)
    progress = Progress()
    try:
        bringup.preflight()
        with lock.held(progress.line, take_over=arguments.take_over):
            return int(arguments.act(arguments, progress) or 0)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("lab: interrupted; `make lab-down` takes away what is there", file=sys.stderr)
    return 1


def _up(arguments: argparse.Namespace, progress: Progress) -> None:
    if arguments.nodes < 1:
        raise LabError(f"LAB_NODES={arguments.nodes}: at least one")
    if teardown.anything():
        progress.line("there is a lab on this machine: taking it down first")
        teardown.destroy(progress)
    lab = bringup.create(arguments.nodes, arguments.suite, arguments.network, progress)
    if arguments.bare:
        progress.line(f"nodes are up, nothing is installed on them: {LAB_JSON}")
        return
    with progress.section("playbooks/site.yml"):
        site.play(lab, "site")
    with progress.step("a pod on each node"):
        placed = pods.run(lab)
    with progress.step("pings"):
        proof = pods.prove(lab, placed)
    progress.line(f"\n{proof}\n\nThe lab is running: {LAB_JSON} says where. `make lab-down` takes it away.")


def _down(arguments: argparse.Namespace, progress: Progress) -> None:
    if not teardown.anything():
        progress.line("no lab on this machine")
        return
    teardown.destroy(progress)


def _status(arguments: argparse.Namespace, progress: Progress) -> None:
    lab = Lab.load().refreshed()
    rows = []
    for node in lab.nodes:
        with node.cri() as cri:
            running = sum(pod.ready for pod in cri.pods())
        state = node.run(["systemctl", "is-system-running"], check=False).stdout.strip()
        rows.append((node.name, node.instance_id, node.address, str(node.pid), state, str(running)))
    progress.line(table(("node", "instance", "address", "pid", "state", "pods"), rows))
    counters = lab.control("GET", "counters")
    progress.line(f"\ncloud: {lab.api.url}, links put back: {counters['links_put_back']}")


def _add_node(arguments: argparse.Namespace, progress: Progress) -> None:
    with progress.step("fresh node"):
        node = bringup.add_node(arguments.primary_vxnet)
    _say(node, progress)


def _remove_node(arguments: argparse.Namespace, progress: Progress) -> None:
    with progress.step(f"removing {arguments.node}"):
        bringup.remove_node(arguments.node)


def _reboot_node(arguments: argparse.Namespace, progress: Progress) -> None:
    with progress.step(f"rebooting {arguments.node}"):
        node = bringup.reboot_node(arguments.node)
    _say(node, progress)


def _say(node: Node, progress: Progress) -> None:
    progress.line(f"{node.name} {node.instance_id} {node.address} pid {node.pid}")


def _pod(arguments: argparse.Namespace, progress: Progress) -> int:
    lab = Lab.load().refreshed()
    with lab.node(arguments.node).cri() as cri:
        if arguments.verb == "run":
            cri.wait_ready()
            cri.run_pod(arguments.pod)
        found = [pod for pod in cri.pods() if arguments.pod in ("", pod.name)]
        if arguments.verb == "exec":
            if not found:
                raise LabError(f"no pod {arguments.pod} on {arguments.node}")
            done = cri.exec(found[0], arguments.command)
            sys.stdout.write(done.stdout)
            sys.stderr.write(done.stderr)
            return done.exit_code
        if arguments.verb == "remove":
            for pod in found:
                cri.remove_pod(pod)
            return 0
    rows = [(pod.name, pod.ip, "ready" if pod.ready else "stopped", pod.netns) for pod in found]
    progress.line(table(("pod", "address", "state", "netns"), rows))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description="Real nodes of an emulated cloud.")
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, act: t.Callable[..., t.Any], text: str, take_over: bool = False) -> argparse.ArgumentParser:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.set_defaults(act=act, take_over=take_over)
        return sub

    up = verb("up", _up, "bring the lab up; one that runs is taken down first", take_over=True)
    env = os.environ.get
    up.add_argument("--nodes", type=int, default=env("LAB_NODES") or "2", help="how many (LAB_NODES)")
    up.add_argument("--suite", default=env("LAB_SUITE") or "bookworm", help="Debian suite (LAB_SUITE)")
    up.add_argument("--network", default=env("LAB_NETWORK") or NETWORK, help="the VPC's network (LAB_NETWORK)")
    up.add_argument("--bare", action="store_true", default=bool(env("LAB_BARE")), help="nodes only (LAB_BARE=1)")
    verb("down", _down, "take the lab away, whatever is left of it", take_over=True)
    verb("status", _status, "nodes and cloud")
    add = verb("add-node", _add_node, "one more, fresh node")
    add.add_argument("--primary-vxnet", default="", help="one of the pods' vxnets, for its own NIC", metavar="VXNET")
    for name, act, text in (
        ("remove-node", _remove_node, "switch a node off for good"),
        ("reboot-node", _reboot_node, "switch a node off and on"),
    ):
        verb(name, act, text).add_argument("node")
    pod = verb("pod", _pod, "pods by the node's container runtime")
    pod.add_argument("verb", choices=("run", "list", "exec", "remove"))
    pod.add_argument("node")
    pod.add_argument("pod", nargs="?", default="", help="name; without one: all")
    pod.add_argument("command", nargs=argparse.REMAINDER, help="for exec")
    return parser


if __name__ == "__main__":
    sys.exit(main())
