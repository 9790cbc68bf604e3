# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin as a user runs it: `ansible-inventory` against an emulated cloud with zones, tags and vxnets."""

from __future__ import annotations

import json
import os
import subprocess
import typing as t
from pathlib import Path

import pytest
import yaml

from plugins.module_utils._ansible import inventory, shelf
from plugins.module_utils.hostnic.errors import HostnicError
from tests.emulator import Emulator
from tests.emulator import Settings as CloudSettings
from tests.quality.artifact import build
from tests.support.ansible import CLONE, attempt, program

KEY, SECRET = "QYACCESSKEYIDEXAMPLE", "mostSecretOfAllSecrets"
MANY = [f"i-many{number:04d}" for number in range(120)]
WORLD: t.Final = {
    "zone": "pek3a",
    "zones": ["pek3b", "pek3"],
    "access_keys": [{"access_key_id": KEY, "secret_access_key": SECRET, "owner": "usr-00000001"}],
    "routers": [{"router_id": "rtr-1", "vpc_network": "192.168.0.0/16"}],
    "vxnets": [
        {"vxnet_id": "vxnet-a", "ip_network": "192.168.1.0/24", "router_id": "rtr-1"},
        {"vxnet_id": "vxnet-b", "ip_network": "192.168.2.0/24", "router_id": "rtr-1"},
        {"vxnet_id": "vxnet-c", "ip_network": "192.168.3.0/24", "router_id": "rtr-1", "zone": "pek3b"},
    ],
    "instances": [
        {"instance_id": "i-node0001", "instance_name": "node1", "eip": "192.0.2.1", "primary": {"vxnet_id": "vxnet-a"}},
        {"instance_id": "i-node0002", "instance_name": "node2", "primary": {"vxnet_id": "vxnet-a"}},
        {"instance_id": "i-node0003", "instance_name": "node2", "primary": {"vxnet_id": "vxnet-b"}},
        {"instance_id": "i-stopped1", "instance_name": "off", "status": "stopped", "primary": {"vxnet_id": "vxnet-a"}},
        {"instance_id": "i-wicked01", "instance_name": "{{ 1 + 1 }}", "instance_type": "c4m8"},
        {
            "instance_id": "i-there001",
            "instance_name": "node4",
            "zone": "pek3b",
            "primary": {"vxnet_id": "vxnet-c", "private_ip": "192.168.3.77"},
        },
        *({"instance_id": one, "instance_name": one, "instance_type": "many", "zone": "pek3"} for one in MANY),
    ],
    "tags": [
        {"tag_id": "tag-0000001", "tag_name": "k8s-node", "resources": {"instance": ["i-node0001", "i-node0002"]}},
        {"tag_id": "tag-0000002", "tag_name": "db", "resources": {"instance": ["i-node0003", "i-node0001"]}},
        {
            "tag_id": "tag-0000003",
            "tag_name": "k8s-node",
            "resources": {"instance": ["i-there001"]},
            "zone": "pek3b",
        },
    ],
}


class Account:
    """The cloud, and `ansible-inventory` with the account's key in its environment."""

    def __init__(self, emulator: Emulator, directory: Path) -> None:
        self.emulator = emulator
        self._directory = directory

    def file(self, **options: t.Any) -> Path:
        """An inventory file of these options."""
        path = self._directory / "nodes.qingcloud.yml"
        path.write_text(yaml.safe_dump({"plugin": "qingcloud.cni.qingcloud", "zones": ["pek3a"], **options}))
        return path

    def run(
        self,
        path: Path,
        *words: str,
        cwd: Path = CLONE,
        program: str = "ansible-inventory",
        within: tuple[str, ...] = (),
        **environ: str,
    ) -> subprocess.CompletedProcess[str]:
        usual = {
            "QINGCLOUD_ACCESS_KEY": KEY,
            "QINGCLOUD_SECRET_KEY": SECRET,
            "QINGCLOUD_ENDPOINT": f"{self.emulator.url}/iaas",
        }
        # what cannot be parsed is to be an error here, not a warning
        strict = {"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "True"}
        return attempt(program, *words, "-i", str(path), within=within, environ={**usual, **strict, **environ}, cwd=cwd)

    def list(self, path: t.Optional[Path] = None, *words: str, **environ: str) -> dict[str, t.Any]:
        done = self.run(path or self.file(), "--list", *words, **environ)
        assert done.returncode == 0, done.stderr
        # core 2.19 says of each text that it is no template
        found: dict[str, t.Any] = json.loads(done.stdout, object_hook=lambda one: one.get("__ansible_unsafe", one))
        return found

    def hosts(self, **options: t.Any) -> dict[str, dict[str, t.Any]]:
        """Name ► variables."""
        found: dict[str, dict[str, t.Any]] = self.list(self.file(**options))["_meta"]["hostvars"]
        return found

    def fails(self, **options: t.Any) -> str:
        """The sentence."""
        done = self.run(self.file(**options), "--list")
        assert done.returncode != 0
        return " ".join(done.stderr.split())

    def calls(self) -> int:
        return sum(self.emulator.counters.to_dict()["calls"].values())


@pytest.fixture(scope="module")
def emulator() -> t.Iterator[Emulator]:
    with Emulator(CloudSettings(), world=WORLD) as running:
        yield running


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment in which the collection is one that was installed."""
    artifact = build(Path(program("ansible-galaxy")), tmp_path_factory.mktemp("installed"))
    return {"ANSIBLE_CONFIG": "", "ANSIBLE_COLLECTIONS_PATH": str(artifact.path)}


@pytest.fixture
def account(emulator: Emulator, tmp_path: Path) -> Account:
    return Account(emulator, tmp_path)


# -- hosts, variables, groups -----------------------------------------------------------------------------------------


def test_hosts_groups_and_what_is_told_of_them(account: Account) -> None:
    """Several zones, and more than a page of instances in one of them."""
    path = account.file(zones=["pek3a", "pek3b", "pek3"], keyed_groups=[{"prefix": "zone", "key": "qingcloud_zone"}])
    told = account.list(path)
    hosts = told["_meta"]["hostvars"]
    assert len(hosts) == 5 + len(MANY) == len(told["qingcloud"]["hosts"])
    assert told["zone_pek3b"]["hosts"] == ["node4"] and len(told["zone_pek3"]["hosts"]) == len(MANY)
    assert (hosts["node4"]["ansible_host"], hosts["node4"]["qingcloud_zone"]) == ("192.168.3.77", "pek3b")
    assert {"node1", "i-node0002", "i-node0003"} < set(hosts), "two are called node2"
    first = hosts["node1"]
    [nic] = first.pop("qingcloud_nics")
    assert nic.pop("nic_id").startswith("52:54:")
    assert nic == {"vxnet_id": "vxnet-a", "private_ip": "192.168.1.2", "primary": True}
    assert first == {
        "ansible_host": "192.168.1.2",
        "qingcloud_instance_id": "i-node0001",
        "qingcloud_instance_name": "node1",
        "qingcloud_zone": "pek3a",
        "qingcloud_status": "running",
        "qingcloud_transition_status": "",
        "qingcloud_instance_type": "c1m1",
        "qingcloud_image_id": "img-00000000",
        "qingcloud_eip": "192.0.2.1",
        "qingcloud_tags": ["k8s-node", "db"],
        "qingcloud_tag_ids": ["tag-0000001", "tag-0000002"],
        "qingcloud_vxnets": ["vxnet-a"],
    }


def test_the_example_gives_site_its_nodes(account: Account) -> None:
    """The file that is shipped, but for its cache; `ansible-playbook --list-hosts` of the playbook."""
    example = yaml.safe_load((CLONE / "playbooks/inventory.qingcloud.yml").read_text())
    path = account.file(**{**example, "cache": False})
    graph = account.run(path, "--graph", "qingcloud_nodes")
    assert graph.stdout.split() == ["@qingcloud_nodes:", "|--node1", "|--node2"], graph.stderr
    everything = account.list(path)
    assert everything["zone_pek3a"]["hosts"] == everything["vxnet_vxnet_a"]["hosts"] == ["node1", "node2"]
    variables = everything["_meta"]["hostvars"]["node2"]
    assert (variables["qingagent_zone"], variables["qingagent_vxnet"]) == ("pek3a", ["vxnet-0a1b2c3d"])
    listed = account.run(path, str(CLONE / "playbooks/site.yml"), "--list-hosts", program="ansible-playbook")
    assert "hosts (2):\n" in listed.stdout, listed.stderr
    assert sorted(listed.stdout.split()[-2:]) == ["node1", "node2"]  # in whatever order the account lists them


def test_options_reach_what_they_are_for(account: Account) -> None:
    hosts = account.hosts(
        filters={"tags": ["tag-0000002"], "vxnets": "vxnet-b"}, hostnames=["primary"], ansible_host=["vxnet-b"]
    )
    assert {name: told["ansible_host"] for name, told in hosts.items()} == {"192.168.2.2": "192.168.2.2"}


def host(instance_id: str, name: str = "", **more: t.Any) -> inventory.Facts:
    nothing = {
        "status": "running",
        "tags": [],
        "tag_ids": [],
        "vxnets": [],
        "nics": [],
        "eip": "",
        "instance_type": "s",
    }
    return {**nothing, "instance_id": instance_id, "instance_name": name, **more}


HOSTS: t.Final = [
    host("i-1", "node1", tags=["k8s", "db"], tag_ids=["tag-1", "tag-2"], vxnets=["vxnet-a"]),
    host("i-2", "node2", tags=["k8s"], tag_ids=["tag-1"], vxnets=["vxnet-a", "vxnet-b"], instance_type="m"),
    host("i-3", "db1", tags=["db"], tag_ids=["tag-2"], vxnets=["vxnet-b"]),
    host("i-4", "node4", vxnets=["vxnet-a"], status="stopped"),
]


@pytest.mark.parametrize(
    ("filters", "wanted"),
    [
        ({}, "i-1 i-2 i-3"),
        ({"tags": "k8s"}, "i-1 i-2"),
        ({"tags": ["tag-2", "nobodys"]}, "i-1 i-3"),
        ({"tags": "db", "vxnets": ["vxnet-b"]}, "i-3"),
        ({"vxnets": "vxnet-a", "statuses": ["running", "stopped"]}, "i-1 i-2 i-4"),
        ({"statuses": "stopped"}, "i-4"),
        ({"names": ["node*", "x"]}, "i-1 i-2"),
        ({"names": "node"}, ""),
        ({"instances": ["i-2", "i-4"]}, "i-2"),
        ({"types": "m"}, "i-2"),
    ],
)
def test_filters(filters: dict[str, t.Any], wanted: str) -> None:
    checked = inventory.check_filters(filters)
    assert " ".join(one["instance_id"] for one in HOSTS if inventory.wanted(one, checked)) == wanted


NICS: t.Final = [
    {"nic_id": "x", "vxnet_id": "vxnet-a", "private_ip": "192.168.1.2", "primary": True},
    {"nic_id": "y", "vxnet_id": "vxnet-b", "private_ip": "192.168.2.2", "primary": False},
]


@pytest.mark.parametrize(
    ("preferences", "wanted"),
    [
        (["primary"], "192.168.1.2"),
        (["eip", "vxnet-b"], "192.168.2.2"),
        (["vxnet-c", "instance_name"], "n"),
        (["eip"], ""),
        ([], ""),
    ],
)
def test_how_hosts_are_reached(preferences: list[str], wanted: str) -> None:
    assert inventory.address(host("i-1", "n", nics=NICS), preferences) == wanted


@pytest.mark.parametrize(
    ("hosts", "preferences", "wanted"),
    [
        ([host("i-1", "a"), host("i-2", "b")], ["instance_name"], {"a": "i-1", "b": "i-2"}),
        ([host("i-1", "a"), host("i-2", "a")], ["instance_name"], {"i-1": "i-1", "i-2": "i-2"}),
        ([host("i-1", "a", eip="9"), host("i-2", "a")], ["instance_name", "eip"], {"9": "i-1", "i-2": "i-2"}),
        ([host("i-1", "a", eip="9"), host("i-2", "a", eip="8")], ["eip", "instance_name"], {"9": "i-1", "8": "i-2"}),
        ([host("i-1", "i-2"), host("i-2", "")], ["instance_name"], {"i-1": "i-1", "i-2": "i-2"}),
        ([host("i-1", "9"), host("i-2", "", eip="9")], ["instance_name", "eip"], {"9": "i-1", "i-2": "i-2"}),
    ],
)
def test_how_hosts_are_called(hosts: list[inventory.Facts], preferences: list[str], wanted: dict[str, str]) -> None:
    found = inventory.named(hosts, preferences)
    assert {name: one["instance_id"] for name, one in found.items()} == wanted


def test_a_template_in_an_instances_name_stays_text(account: Account) -> None:
    path = account.file(filters={"types": "c4m8"}, hostnames=["instance_id"])
    words = ("all", "-m", "ansible.builtin.debug", "-a", "var=qingcloud_instance_name")
    done = account.run(path, *words, program="ansible")
    assert "{{ 1 + 1 }}" in done.stdout, done.stdout + done.stderr


# -- cache ------------------------------------------------------------------------------------------------------------


def test_the_cache_spares_every_call_until_it_expires_or_is_flushed(account: Account, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    kept = {"cache": True, "cache_plugin": "ansible.builtin.jsonfile", "cache_connection": str(cache)}
    path = account.file(**kept)
    first = account.list(path)
    asked = account.calls()
    assert account.list(path) == first
    account.file(**kept, filters={"tags": "db"})
    assert account.list(path)["qingcloud"]["hosts"] == ["node1", "node2"], "it holds what another filter wants"
    assert account.calls() == asked
    account.list(path, "--flush-cache")
    flushed = account.calls()
    assert flushed > asked
    account.file(**kept, zones=["pek3b"])
    assert list(account.list(path)["_meta"]["hostvars"]) == ["node4"], "other zones are asked for"
    account.file(**kept, cache_timeout=1)
    for file in cache.iterdir():
        assert SECRET not in file.read_text() and KEY not in file.read_text()
        os.utime(file, (0, 0))
    asked = account.calls()
    account.list(path)
    assert account.calls() > asked, "it has expired"


# -- credentials ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["file", "options", "environment"])
def test_credentials_come_from_anywhere_and_show_nowhere(account: Account, tmp_path: Path, where: str) -> None:
    address, __, port = account.emulator.url.rpartition("/")[2].partition(":")
    environ = dict.fromkeys(("QINGCLOUD_ACCESS_KEY", "QINGCLOUD_SECRET_KEY", "QINGCLOUD_ENDPOINT"), "")
    options: dict[str, t.Any] = {"zones": []}
    if where == "file":
        access = tmp_path / "client.yaml"
        access.write_text(
            f"qy_access_key_id: {KEY}\nqy_secret_access_key: {SECRET}\nhost: {address}\nport: {port}\n"
            "protocol: http\nuri: /iaas\nzone: pek3b\n"
        )
        access.chmod(0o600)
        options |= {"access_file": str(access)}
    elif where == "options":
        environ["THE_SECRET"] = SECRET
        options |= {
            "access_key_id": KEY,
            "secret_access_key": "{{ lookup('ansible.builtin.env', 'THE_SECRET') }}",
            "endpoint": f"{account.emulator.url}/iaas",
            "zone": "pek3b",
        }
    else:
        environ = {"QINGCLOUD_ZONE": "pek3b"}
    done = account.run(account.file(**options), "--list", "-vvvv", **environ)
    assert "192.168.3.77" in done.stdout, done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_what_the_api_refuses_is_told_without_the_secret(account: Account) -> None:
    done = account.run(account.file(), "--list", "-vvvv", QINGCLOUD_SECRET_KEY="another" + SECRET)
    said = " ".join(done.stderr.split())
    assert done.returncode != 0 and "signature does not match (ret_code 1200)" in said
    assert SECRET not in done.stdout + done.stderr


# -- what is wrong ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"tag": "x"}, "filters: unknown 'tag', the nearest valid one is 'tags'"),
        ({"tags": []}, "filters: tags must be a text or a list of texts: leave it out to have all"),
        ({"tags": [7]}, "filters: tags must be a text or a list of texts: leave it out to have all"),
        ({"statuses": "stop"}, "filters: statuses: unknown 'stop', the nearest valid one is 'stopped'"),
    ],
)
def test_a_wrong_filter_is_told_in_a_sentence(filters: dict[str, t.Any], sentence: str) -> None:
    with pytest.raises(HostnicError) as caught:
        inventory.check_filters(filters)
    assert caught.value.message == sentence


def test_a_wrong_address_is_told_in_a_sentence() -> None:
    inventory.check_address(["eip", "vxnet-a"])
    with pytest.raises(HostnicError, match="ansible_host: unknown 'elastic', the nearest valid one is"):
        inventory.check_address(["primary", "elastic"])


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"zone_list": ["pek3a"]}, "options: unknown 'zone_list', the nearest valid one is"),
        ({"hostnames": ["name"]}, "hostnames: unknown 'name', the nearest valid one is 'instance_name'"),
        ({"zones": []}, "zone is not set: name it in zone, in QINGCLOUD_ZONE or in /etc/qingcloud/client.yaml"),
        ({"strict": True, "compose": {"x": "nobodys_variable"}}, "nobodys_variable"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(account: Account, options: dict[str, t.Any], sentence: str) -> None:
    assert f"nodes.qingcloud.yml: {sentence}" in account.fails(**options) or ("zones" in options or "strict" in options)
    assert sentence in account.fails(**options)


def test_another_file_name_is_not_this_plugins(account: Account, tmp_path: Path) -> None:
    path = account.file().rename(tmp_path / "nodes.yml")
    done = account.run(path, "--list")
    said = " ".join(done.stderr.split())
    assert done.returncode != 0 and "could not be verified by inventory plugin 'qingcloud.cni.qingcloud'" in said


# -- installed --------------------------------------------------------------------------------------------------------


def test_an_installed_collection(account: Account, installed: dict[str, str], tmp_path: Path) -> None:
    done = account.run(account.file(), "--graph", cwd=tmp_path, **installed)
    assert "|--node1" in done.stdout, done.stderr
    done = attempt("ansible-doc", "-t", "inventory", "qingcloud.cni.qingcloud", environ=installed, cwd=tmp_path)
    assert "How a host is reached" in " ".join(done.stdout.split()), done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts over the home directory's cache")
def test_without_the_sdk_the_packages_that_lie_here_are_used(
    account: Account, installed: dict[str, str], tmp_path: Path
) -> None:
    """Python without the SDK: a sentence. With what a module of the collection has laid down before: the hosts."""
    packages_of_python = Path(yaml.__file__).parents[1]
    blind, laid = (
        tmp_path / "blind",
        tmp_path / "cache/qingcloud.cni" / shelf.deps_name((CLONE / "files/requirements.lock").read_text()),
    )
    for directory in (blind, laid):
        directory.mkdir(parents=True)
    for entry in packages_of_python.iterdir():
        place = laid if entry.name in ("qingcloud", "past", "future") else blind
        (place / entry.name).symlink_to(entry)
    program = f"import sys; sys.path.append({str(blind)!r}); from ansible.cli.inventory import main; main()"
    environ = {**installed, "CACHE": str(laid.parents[1])}
    mounted = ("unshare", "-m", "sh", "-c", 'mount --bind "$CACHE" ~/.cache && exec "$@"', "sh")
    words = ("python", "-S", "-c", program, "--graph")
    refused = account.run(account.file(), *words[1:], cwd=tmp_path, program="python", within=mounted, **environ)
    said = " ".join(refused.stderr.split())
    assert "the inventory plugin needs the Python package qingcloud-sdk: install it for" in said, refused.stdout
    (laid / "manifest.json").write_text("{}")
    found = account.run(account.file(), *words[1:], cwd=tmp_path, program="python", within=mounted, **environ)
    assert "|--node1" in found.stdout, found.stderr
