# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod without a runtime, with real namespaces and pings; the plugin is a script that notes how it was called."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest

from plugins.module_utils._ansible import command
from plugins.module_utils._ansible.trial import TrialPod, configuration
from plugins.module_utils.hostnic.errors import InvalidConfig, LinkFailed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

NAME = "qctest-trial"
RESULT = {"cniVersion": "1.0.0", "ips": [{"address": "127.0.0.1/8"}], "interfaces": [{"mac": "", "sandbox": "x"}]}
LIST = {
    "cniVersion": "1.0.0",
    "name": "pods",
    "plugins": [
        {"type": "qingcni", "isGateway": True, "capabilities": {"mac": True}},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ],
}
PLUGIN = """\
#!/bin/sh
echo "$CNI_COMMAND $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME $(cat)" >>{calls}
if [ -e {fails} ]; then echo '{{"code": 11, "msg": "no NIC became ready in time"}}'; exit 1; fi
if [ $CNI_COMMAND = ADD ]; then
    /sbin/ip -netns {name} link set lo up
    echo '{result}'
fi
"""


class Plugin:
    """`calls`: verb and netns of each."""

    def __init__(self, directory: Path) -> None:
        self._calls, self.fails, self._path = (directory / name for name in ("calls", "fails", "qingcni"))
        self._path.write_text(PLUGIN.format(calls=self._calls, fails=self.fails, name=NAME, result=json.dumps(RESULT)))
        self._path.chmod(0o755)
        self.pod = TrialPod(NAME, str(self._path), {"name": "pods"}, command.run)

    def calls(self) -> list[tuple[str, str]]:
        lines = [line.split() for line in self._calls.read_text().splitlines()]
        assert {(line[1], line[-1]) for line in lines} == {(NAME, '"pods"}')}
        return [(line[0], line[2] if line[2].startswith("/") else "") for line in lines]


@pytest.fixture
def plugin(tmp_path: Path) -> t.Iterator[Plugin]:
    yield Plugin(tmp_path)
    subprocess.run(["ip", "netns", "delete", NAME], stderr=subprocess.DEVNULL, check=False)


def test_started_pinged_and_ended(plugin: Plugin) -> None:
    netns = f"/run/netns/{NAME}"
    assert plugin.pod.start() == plugin.pod.start() == {"address": "127.0.0.1", "mac": ""}
    near = [f"127.0.0.{number}" for number in range(1, 100)]
    trips = plugin.pod.ping([*near, "192.0.2.1"], 2)
    assert trips.pop("192.0.2.1") is None  # no route
    assert [address for address, trip in trips.items() if not 0 < (trip or 0) < 1000] == []
    plugin.pod.end()
    plugin.pod.end()
    assert not Path(netns).exists()
    assert plugin.calls() == [("ADD", netns), ("ADD", netns), ("DEL", netns), ("DEL", "")]


def test_the_plugins_own_words(plugin: Plugin) -> None:
    plugin.fails.touch()
    with pytest.raises(LinkFailed, match="no NIC became ready in time"):
        plugin.pod.start()
    plugin.fails.unlink()
    plugin.pod.end()


def test_what_a_runtime_hands_the_plugin_of_a_list(tmp_path: Path) -> None:
    path = tmp_path / "05-qingcloud.conflist"
    path.write_text(json.dumps(LIST))
    assert configuration(path) == {"type": "qingcni", "isGateway": True, "name": "pods", "cniVersion": "1.0.0"}


def test_a_single_configuration_is_handed_on_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "05-qingcloud.conf"
    path.write_text('{"cniVersion": "0.2.0", "name": "pods", "type": "qingcni"}')
    assert configuration(path) == {"type": "qingcni", "name": "pods", "cniVersion": "0.2.0"}


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"plugins": [{"type": "bridge"}]}', '{"plugins": 1}'])
def test_a_file_that_is_not_ours_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "05-qingcloud.conflist"
    path.write_text(text)
    with pytest.raises(InvalidConfig, match="05-qingcloud.conflist is no CNI configuration.*site.yml"):
        configuration(path)
