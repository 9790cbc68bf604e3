# SPDX-License-Identifier: GPL-3.0-or-later
"""Where runtimes look: Debian's containerd, containerd 2, CRI-O with drop-ins, none; and what is in the way there."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from plugins.module_utils.hostnic import runtimes
from plugins.module_utils.hostnic.runtimes import Runtime, find, toml_strings

NAME = "05-qingcloud.conflist"

DEBIAN = """
version = 2

[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    [plugins."io.containerd.grpc.v1.cri".cni]
      bin_dir = "/usr/lib/cni"   # Debian's
      conf_dir = "/etc/cni/net.d"
      max_conf_num = 1
  [plugins."io.containerd.internal.v1.opt"]
    path = "/var/lib/containerd"
"""
SECOND = """
version = 3
[plugins.'io.containerd.cri.v1.runtime'.cni]
  bin_dirs = [
    '/usr/local/cni', # first
    "/opt/cni/bin",
  ]
  conf_dir = '/etc/containerd/cni'
"""


def silent(__: t.Sequence[str]) -> t.Optional[str]:
    return None


def put(root: Path, path: str, text: str = "") -> Path:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    return file


def test_containerd_tells_itself(tmp_path: Path) -> None:
    asked: list[t.Sequence[str]] = []

    def containerd(command: t.Sequence[str]) -> str:
        asked.append(command)
        return DEBIAN

    put(tmp_path, "etc/containerd/config.toml", SECOND)
    assert find(NAME, containerd, tmp_path).runtimes == [Runtime("containerd", ("/usr/lib/cni",), "/etc/cni/net.d")]
    assert asked == [["containerd", "--config", f"{tmp_path}/etc/containerd/config.toml", "config", "dump"]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (DEBIAN, Runtime("containerd", ("/usr/lib/cni",), "/etc/cni/net.d")),
        (SECOND, Runtime("containerd", ("/usr/local/cni", "/opt/cni/bin"), "/etc/containerd/cni")),
        ('disabled_plugins = ["cri"]\n', Runtime("containerd", ("/opt/cni/bin",), "/etc/cni/net.d")),
    ],
)
def test_containerds_file_is_read_where_it_does_not(tmp_path: Path, text: str, expected: Runtime) -> None:
    put(tmp_path, "etc/containerd/config.toml", text)
    assert find(NAME, silent, tmp_path).runtimes == [expected]


def test_crio_with_its_drop_ins(tmp_path: Path) -> None:
    put(tmp_path, "etc/crio/crio.conf", '[crio.network]\nnetwork_dir = "/etc/cni/net.d/"\nplugin_dirs = ["/a"]\n')
    put(tmp_path, "etc/crio/crio.conf.d/10-x.conf", '[crio.network]\nplugin_dirs = [\n\t"/opt/cni/bin/",\n\t"/b",\n]\n')
    assert find(NAME, silent, tmp_path).runtimes == [Runtime("cri-o", ("/opt/cni/bin", "/b"), "/etc/cni/net.d")]


def test_without_a_runtime_the_usual_places_are_told(tmp_path: Path) -> None:
    assert find(NAME, silent, tmp_path).runtimes == [Runtime("none", ("/opt/cni/bin",), "/etc/cni/net.d")]


def test_given_directories_win(tmp_path: Path) -> None:
    put(tmp_path, "etc/containerd/config.toml", DEBIAN)
    fixed = Runtime("fixed", ("/x",), "/y")
    assert find(NAME, silent, tmp_path, fixed).runtimes == [fixed]


def test_rivals_are_those_that_a_runtime_reads_and_that_sort_before(tmp_path: Path) -> None:
    for name in (
        "00-rival.conf",
        "04-x.json",
        "05-a.conflist",
        NAME,
        "05-z.conflist",
        "87-podman.conflist",
        "00-readme",
    ):
        put(tmp_path, f"etc/cni/net.d/{name}")
    found = find(NAME, silent, tmp_path)
    assert found.rivals == [f"/etc/cni/net.d/{name}" for name in ("00-rival.conf", "04-x.json", "05-a.conflist")]
    assert found.others == [f"/etc/cni/net.d/{name}" for name in ("05-z.conflist", "87-podman.conflist")]


def test_a_plugin_counts_only_where_every_runtime_finds_it(tmp_path: Path) -> None:
    put(tmp_path, "etc/containerd/config.toml", DEBIAN)
    put(tmp_path, "etc/crio/crio.conf", "")
    for path in ("usr/lib/cni/portmap", "usr/lib/cni/loopback", "opt/cni/bin/loopback"):
        put(tmp_path, path).chmod(0o755)
    put(tmp_path, "opt/cni/bin/portmap").chmod(0o644)
    assert find(NAME, silent, tmp_path).plugins == ["loopback"]


def test_toml_as_far_as_needed() -> None:
    text = 'a = "x" # "no"\n# b = "y"\n[ s . "t u" ]\nc = [ "1", \'2\' ]\nd = 3\ne = []\n[[list]]\nf = "z"\n'
    assert toml_strings(text)[""]["a"][0] == "x"
    assert toml_strings(text)["s.tu"] == {"c": ["1", "2"], "e": []}


def test_what_is_no_toml_at_all_is_not_our_business() -> None:
    assert toml_strings("\x00]][[ = = \n = \n[") == {"": {}}


MESOS = Runtime("mesos", ("/opt/mesos/cni", "/opt/cni/bin"), "/etc/mesos-cni", lists=False)


@pytest.mark.parametrize("agent", ["mesos-agent", "mesos-slave"])
def test_mesos_by_the_files_of_its_flags(tmp_path: Path, agent: str) -> None:
    put(tmp_path, f"etc/{agent}/network_cni_config_dir", "/etc/mesos-cni/\n")
    put(tmp_path, f"etc/{agent}/network_cni_plugins_dir", "/opt/mesos/cni:/opt/cni/bin\n")
    assert find(NAME, silent, tmp_path).runtimes == [MESOS]


@pytest.mark.parametrize("name", ["mesos", "mesos-slave", "mesos-agent"])
def test_mesos_by_the_variables_of_its_service(tmp_path: Path, name: str) -> None:
    conf_dir, plugins_dir = "MESOS_NETWORK_CNI_CONFIG_DIR=/etc/mesos-cni\n", "/opt/mesos/cni:/opt/cni/bin"
    put(tmp_path, f"etc/default/{name}", f"{conf_dir}export MESOS_NETWORK_CNI_PLUGINS_DIR='{plugins_dir}'\n")
    assert find(NAME, silent, tmp_path).runtimes == [MESOS]
    put(tmp_path, f"etc/default/{name}", f"#{conf_dir}MESOS_NETWORK_CNI_PLUGINS_DIR={plugins_dir}\n")
    assert find(NAME, silent, tmp_path).runtimes == [Runtime("none")]


def test_mesos_without_both_flags_has_no_cni(tmp_path: Path) -> None:
    put(tmp_path, "etc/mesos-slave/network_cni_config_dir", "/etc/mesos-cni\n")
    assert find(NAME, silent, tmp_path).runtimes == [Runtime("none")]


def test_mesos_beside_containerd(tmp_path: Path) -> None:
    """Its files are no rivals, and plugins that only Mesos lacks are there for containerd."""
    put(tmp_path, "etc/containerd/config.toml", DEBIAN)
    put(tmp_path, "usr/lib/cni/portmap").chmod(0o755)
    put(tmp_path, "etc/mesos-cni/00-bridge.conf")
    found = find(NAME, silent, tmp_path, mesos=MESOS)
    assert [runtime.name for runtime in found.runtimes] == ["containerd", "mesos"]
    assert (found.rivals, found.others, found.plugins, found.shared) == ([], [], ["portmap"], [])


def test_a_directory_that_mesos_shares_is_told(tmp_path: Path) -> None:
    put(tmp_path, "etc/containerd/config.toml", DEBIAN)
    assert find(NAME, silent, tmp_path, mesos=Runtime("mesos", ("/x",), lists=False)).shared == ["/etc/cni/net.d"]


def test_defaults_are_the_ones_of_cni() -> None:
    assert (runtimes.BIN_DIR, runtimes.CONF_DIR) == ("/opt/cni/bin", "/etc/cni/net.d")
