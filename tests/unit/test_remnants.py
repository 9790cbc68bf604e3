# SPDX-License-Identifier: GPL-3.0-or-later
"""What is removed after the agent, and what is not ours to remove. The node's programs have a script here."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import remnants
from plugins.module_utils._ansible.remnants import Cleared, Places

RULE = "99:\tfrom all fwmark 0x100000/0x100000 lookup 100 proto kernel\n"
OURS = "# Ansible managed, role qingcloud.cni.qingagent\nqy_access_key_id: A\n"


class Machine:
    """Files below a directory; `kernel`: what nft, ip and systemctl have, by the words that remove it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.kernel: set[str] = set()
        self.links: dict[str, list[str]] = {"": ["lo", "eth0"]}
        self.fails = ""

    def write(self, path: str, text: str = "") -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def files(self) -> set[str]:
        return {str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir()}

    def run(self, argv: t.Sequence[str]) -> tuple[int, str, str]:
        words = " ".join(argv)
        if self.fails and self.fails in words:
            return 1, "", "Operation not permitted"
        if words.endswith("-json link show"):
            names = self.links.get(argv[2] if argv[1] == "-netns" else "", [])
            return 0, json.dumps([{"ifname": name} for name in names]), ""
        if words.startswith("nft list"):
            return (0 if "nft" in self.kernel else 1), "", ""
        if words.startswith("ip -4 rule show"):
            return 0, RULE if "rule" in self.kernel else "", ""
        if words.startswith("systemctl is-failed"):
            return (0 if argv[-1] in self.kernel else 1), "", ""
        for word in ("nft delete", "ip -4 rule delete", "systemctl reset-failed"):
            if words.startswith(word):
                self.kernel -= {"nft delete": {"nft"}, "ip -4 rule delete": {"rule"}}.get(word, {argv[-1]})
        if words.startswith("ip netns delete"):
            (self.root / "run/netns" / argv[-1]).unlink()
        return 0, "", ""

    @property
    def places(self) -> Places:
        return Places(bin_dirs=["/usr/lib/cni"], conf_dirs=["/etc/cni/net.d"], root=self.root)

    def clear(self, check: bool = False) -> Cleared:
        return remnants.clear(remnants.things(self.places, self.run), check)

    def strays(self) -> list[str]:
        return remnants.strays(self.run, self.places)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """As site.yml and an agent leave one, once both are stopped."""
    one = Machine(tmp_path)
    for path in ("etc/qingagent/QingAgent.yaml", "var/lib/qingagent/state.db", "run/qingagent/token", *remnants.FILES,
                 *remnants.SNIPPETS, "run/netns/qingagent", "etc/systemd/system/qingagent.socket",
                 "etc/systemd/system/multi-user.target.wants/qingagent.service"):  # fmt: skip
        one.write(path)
    one.write("etc/qingcloud/client.yaml", OURS)
    one.write("usr/lib/cni/bridge")
    (tmp_path / "usr/lib/cni/qingcni").symlink_to("/usr/lib/hostnic/current/bin/qingcni")
    one.links["qingagent"] = ["lo"]
    one.kernel = {"nft", "rule", "qingagent.service"}
    return one


def others(machine: Machine) -> None:
    """What somebody else has put into the same places."""
    machine.write("etc/cni/net.d/87-podman-bridge.conflist", '{"plugins": [{"type": "bridge"}]}')
    machine.write("etc/qingcloud/instance-id", "i-1")
    machine.write("etc/systemd/system/kubelet.service")
    machine.write("run/systemd/network/10-mine.network")
    machine.write("etc/sysctl.d/99-mine.conf")
    machine.write("run/netns/cni-1")


def test_everything_of_ours_goes_and_nothing_of_others(machine: Machine) -> None:
    ours = machine.files()
    others(machine)
    before = machine.files()
    foreseen = machine.clear(check=True)
    assert machine.files() == before and machine.kernel
    done = machine.clear()
    assert (done.found, done.leftovers) == (foreseen.found, [])
    assert machine.files() == before - ours | {"usr/lib/cni/bridge"}
    assert machine.kernel == set()
    assert machine.clear() == Cleared()
    assert machine.strays() == []


def test_a_key_that_the_role_did_not_write_stays(machine: Machine) -> None:
    machine.write("etc/qingcloud/client.yaml", f"qy_access_key_id: A\n{OURS}")
    assert "/etc/qingcloud/client.yaml" not in machine.clear().found
    assert "etc/qingcloud/client.yaml" in machine.files()


def test_an_executable_of_that_name_that_is_not_ours_stays(machine: Machine) -> None:
    link = machine.root / "usr/lib/cni/qingcni"
    link.unlink()
    link.symlink_to("/opt/other/qingcni")
    machine.clear()
    assert link.is_symlink()


def test_another_rule_of_that_priority_stays(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.RULE", "99:\tfrom all fwmark 0x4000/0x4000 lookup 100\n")
    assert not [name for name in machine.clear().found if "rule" in name]


def test_a_namespace_with_nics_stays_and_is_told(machine: Machine) -> None:
    machine.links["qingagent"].append("qn525400000001")
    done = machine.clear()
    assert done.leftovers == [
        "network namespace qingagent is still there: qn525400000001 would come back to the host with it"
    ]
    assert (machine.root / "run/netns/qingagent").exists()


def test_what_cannot_be_removed_is_told_in_a_sentence(machine: Machine) -> None:
    machine.fails = "nft delete"
    done = machine.clear()
    assert done.leftovers == ["nftables table ip qingcni is still there: Operation not permitted"]


def test_what_others_have_to_remove_is_told(machine: Machine) -> None:
    machine.write("etc/cni/net.d/10-mine.conflist", '{"plugins": [{"type": "qingcni"}]}')
    machine.links[""].append("qg525400000001")
    machine.links[""].append("qgis")  # somebody else's
    link, conf = machine.strays()
    assert link.startswith("link qg525400000001 of a gateway NIC is still on the host")
    assert conf.startswith("/etc/cni/net.d/10-mine.conflist still names the plugin qingcni")
