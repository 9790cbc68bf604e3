# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles agree with the agent's settings and with themselves: variables, defaults, specifications, files, playbooks."""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator

from plugins.module_utils._ansible import preflight
from plugins.module_utils.hostnic import config, probed
from plugins.module_utils.hostnic.cni import keys, netconf, wishes
from plugins.module_utils.hostnic.commands import start
from plugins.module_utils.hostnic.config import Settings
from plugins.module_utils.hostnic.configuration import settings, values
from tests.support.ansible import CLONE, attempt

ROLES = ("qingagent", "qingcni")
OPTIONS = {option.metadata["key"]: option for option in fields(Settings)}
# Defaults that follow other variables.
DERIVED = {"qingagent_api_rate", "qingagent_account_nodes", "qingcni_bind_addr", "qingcni_is_gateway"}
# Kind of a setting ► types that a role's variable for it may have.
TYPES = {
    "string": ("str", "path"),
    "list": ("list",),
    "int": ("int",),
    "rate": ("str",),
    "duration": ("str",),
}
CHOICES = {
    "qingagent_policy": settings.POLICIES,
    "qingagent_loglevel": settings.LOG_LEVELS,
    "qingagent_degradation": settings.DEGRADATIONS,
    "qingcni_default_route": (netconf.ROUTER, netconf.GATEWAY, netconf.NONE),
    "qingcni_policy": ("", *settings.POLICIES),
    "qingcni_log_level": ("", *settings.LOG_LEVELS),
}


def load(path: str) -> t.Any:
    return yaml.safe_load((CLONE / path).read_text())


def spec(role: str) -> dict[str, t.Any]:
    found: dict[str, t.Any] = load(f"roles/{role}/meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    return found


def test_every_setting_is_a_variable_in_the_agents_order() -> None:
    names = [preflight.variable(key) for key in OPTIONS]
    assert [name for name in load("roles/qingagent/defaults/main.yml") if name in names] == names


@pytest.mark.parametrize("key", [key for key in OPTIONS if preflight.variable(key) not in DERIVED])
def test_a_settings_default_is_the_same_here_and_there(key: str) -> None:
    option = OPTIONS[key]
    default = load("roles/qingagent/defaults/main.yml")[preflight.variable(key)]
    assert values.parse(option.metadata["kind"], default, key) == option.default


@pytest.mark.parametrize("key", OPTIONS)
def test_a_settings_type_is_the_agents(key: str) -> None:
    option = spec("qingagent")[preflight.variable(key)]
    assert option["type"] in TYPES[OPTIONS[key].metadata["kind"]]
    assert option.get("elements") == ("str" if option["type"] == "list" else None)


@pytest.mark.parametrize("name", CHOICES)
def test_choices_are_those_that_the_agent_takes(name: str) -> None:
    assert tuple(spec(name.partition("_")[0])[name]["choices"]) == CHOICES[name]


def test_no_other_variable_has_choices_of_the_agents() -> None:
    chosen = {name for role in ROLES for name, option in spec(role).items() if "choices" in option}
    assert chosen - {"qingagent_protocol"} == set(CHOICES)


@pytest.mark.parametrize("role", ROLES)
def test_ansible_takes_the_defaults_as_they_are(role: str) -> None:
    defaults = {key: value for key, value in load(f"roles/{role}/defaults/main.yml").items() if key not in DERIVED}
    result = ArgumentSpecValidator(spec(role)).validate(defaults)
    assert result.error_messages == []
    assert {key: result.validated_parameters[key] for key in defaults} == defaults


def test_every_setting_is_written_to_the_agents_file() -> None:
    """What nobody set is null there, which counts as not given: the access file has a zone, a probe found a length."""
    template = load("roles/qingagent/vars/main.yml")["_qingagent_settings"]
    written = dict(re.findall(r"'(\S+)': (.+?),(?=\s)", template))
    zone, chunk = Settings().zone, Settings().attach_chunk
    assert written == {
        **{key: preflight.variable(key) for key in OPTIONS},
        "zone": f"qingagent_zone if qingagent_zone != '{zone}' else none",
        "attach-chunk": f"qingagent_attach_chunk if qingagent_attach_chunk | int != {chunk} else none",
    }


@pytest.mark.parametrize("role", ROLES)
def test_specification_and_defaults_name_the_same_in_one_order(role: str) -> None:
    assert list(spec(role)) == list(load(f"roles/{role}/defaults/main.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_specification_and_defaults_have_the_same_values(role: str) -> None:
    defaults = load(f"roles/{role}/defaults/main.yml")
    for name, option in spec(role).items():
        assert option["description"], name
        assert ("default" in option) != (name in DERIVED), name
        if name not in DERIVED:
            assert option["default"] == defaults[name], name


@pytest.mark.parametrize("role", ROLES)
def test_variables_carry_the_roles_name(role: str) -> None:
    names = [*load(f"roles/{role}/defaults/main.yml"), *load(f"roles/{role}/vars/main.yml")]
    for path in (CLONE / f"roles/{role}/tasks").glob("*.yml"):
        names += re.findall(r"register: (\S+)", path.read_text())
    assert [name for name in names if not re.fullmatch(rf"_{{0,2}}{role}_[a-z0-9_]+", name)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_is_explained(role: str) -> None:
    """By a comment above it; some share one."""
    text = (CLONE / f"roles/{role}/defaults/main.yml").read_text()
    assert text.count("\n# ") * 1.5 > len(load(f"roles/{role}/defaults/main.yml"))
    assert (CLONE / f"roles/{role}/README.md").exists()


@pytest.mark.parametrize("name", ["qingagent_access_key_id", "qingagent_secret_access_key"])
def test_credentials_are_never_shown(name: str) -> None:
    assert spec("qingagent")[name]["no_log"] is True
    for path in (CLONE / "roles/qingagent").rglob("*.yml"):
        if path.parent.name != "tasks":
            continue
        for task in yaml.safe_load(path.read_text()):
            for step in [task, *task.get("block", []), *task.get("rescue", [])]:
                shown = json.dumps({key: value for key, value in step.items() if key not in ("block", "rescue")})
                if name in shown:
                    assert "qingcloud.cni.hostnic_preflight" in step, f"{path.name}: {step['name']}"
    [write] = [
        task for task in load("roles/qingagent/tasks/configure.yml") if "_qingagent_access_file" in json.dumps(task)
    ]
    [file] = write["qingcloud.cni.hostnic_files"]["files"]
    assert (write["no_log"], write["diff"], file["mode"]) == (True, False, "0600")
    assert "_qingagent_access_file" in file["secret"] and "content" not in file


def test_a_changed_access_file_restarts_nothing() -> None:
    """The agent reads it again by itself; of its configuration it is told."""
    tasks = load("roles/qingagent/tasks/configure.yml")
    assert [("_qingagent_access_file" in json.dumps(task)) for task in tasks if "notify" not in task] == [False, True]
    assert [task["notify"] for task in tasks if "_qingagent_file" in json.dumps(task)] == ["Configure qingagent"]


RUNTIME = {"conf_dirs": ["/etc/cni/net.d"], "single_conf_dirs": ["/etc/mesos-cni"]}


# -- what the roles write ---------------------------------------------------------------------------------------------


def rendered(role: str, variables: t.Mapping[str, t.Any], expression: str, tmp_path: Path) -> t.Any:
    """An expression of a role with its defaults, by Ansible itself; its text is in the file `out` then."""
    given = {
        "role_path": str(CLONE / "roles" / role),
        "__qingcni_runtime": {"plugins": ["portmap"], **RUNTIME},
        **variables,
    }
    files = [f"@{CLONE / 'roles' / role / name / 'main.yml'}" for name in ("defaults", "vars")]
    extra = [word for each in (*files, json.dumps(given)) for word in ("-e", each)]
    words = ("localhost", "-m", "ansible.builtin.debug", "-a", json.dumps({"msg": expression}))
    done = attempt("ansible", *words, *extra, environ={"ANSIBLE_CALLBACK_RESULT_FORMAT": "json"})
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout[done.stdout.index("{") :])["msg"]
    (tmp_path / "out").write_text(told if isinstance(told, str) else json.dumps(told))
    return yaml.safe_load((tmp_path / "out").read_text())


def test_the_agent_reads_what_the_role_writes(tmp_path: Path) -> None:
    given = {"qingagent_vxnet": ["vxnet-a", "vxnet-b"], "qingagent_pool_low": 2, "qingagent_idle_ttl": "1h"}
    rendered("qingagent", given, "{{ _qingagent_file }}", tmp_path)
    (tmp_path / "QingAgent.yaml").write_text((tmp_path / "out").read_text())
    settings, origins = config.load({}, {}, tmp_path)
    assert (settings.vxnet, settings.pool_low, settings.idle_ttl) == (("vxnet-a", "vxnet-b"), 2, 3600.0)
    assert origins["zone"] == origins["attach-chunk"] == "default" and origins["pool-low"] != "default"


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_measurement_that_is_none_is_told_before_anything_changes(tmp_path: Path, content: t.Optional[str]) -> None:
    path = tmp_path / "probe.json"
    if content is not None:
        path.write_text(content)
    play = {
        "hosts": "localhost",
        "gather_facts": False,
        "vars": {"qingagent_probe": str(path)},
        "tasks": [{"import_role": {"name": "qingcloud.cni.qingagent", "tasks_from": "preflight"}}],
    }
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    done = attempt("ansible-playbook", str(tmp_path / "play.yml"))
    said = " ".join(done.stdout.split())
    assert done.returncode != 0 and "ok=0" in said
    assert f"qingagent_probe {path} is not what the playbook qingcloud.cni.probe writes: run that again" in said


@pytest.mark.parametrize("measured", [{"nics_per_instance": 32, "nic_name_match": "exact"}, None])
def test_the_agent_reads_the_measurement_that_the_role_writes(
    tmp_path: Path, measured: t.Optional[dict[str, t.Any]]
) -> None:
    (tmp_path / "measured.json").write_text(json.dumps(measured))
    given = {"qingagent_probe": str(tmp_path / "measured.json") if measured else ""}
    assert rendered("qingagent", given, "{{ _qingagent_measured }}", tmp_path) == (measured or {})
    assert probed.read(tmp_path / "out") == probed.Probed(nic_limit=32 if measured else 64)
    [files] = [
        task["qingcloud.cni.hostnic_files"]["files"]
        for task in load("roles/qingagent/tasks/configure.yml")
        if "_qingagent_measured" in json.dumps(task)
    ]
    assert files[-1]["path"] == str(Path(config.DIRECTORY) / "probe.json")
    assert 'probed.read(Path(config.DIRECTORY) / "probe.json")' in Path(start.__file__).read_text()


def test_the_access_file_is_quoted(tmp_path: Path) -> None:
    given = {"qingagent_access_key_id": "0123", "qingagent_secret_access_key": "a: 'b\" #c", "qingagent_port": 7777}
    written = rendered("qingagent", given, "{{ _qingagent_access_file }}", tmp_path)
    assert written == {
        "qy_access_key_id": "0123",
        "qy_secret_access_key": "a: 'b\" #c",
        "zone": "pek3a",
        "host": "api.qingcloud.com",
        "port": 7777,
        "protocol": "https",
        "uri": "/iaas/",
    }


@pytest.mark.parametrize(
    ("given", "first", "others"),
    [
        ({}, {"isGateway": False, "ipMasq": True, "ipam": {"routes": []}}, ["portmap"]),
        (
            {"qingcni_routes": [{"dst": "10.96.0.0/12"}], "qingcni_portmap": False, "qingcni_mtu": 1400},
            {"isGateway": True, "mtu": 1400, "ipam": {"routes": [{"dst": "10.96.0.0/12"}]}},
            [],
        ),
        (
            {
                "qingcni_default_route": "gateway",
                "qingcni_is_gateway": True,
                "qingcni_more_plugins": [{"type": "tuning"}],
            },
            {"defaultRoute": "gateway", "isGateway": True},
            ["portmap", "tuning"],
        ),
        (
            {
                "qingcni_vxnets": ["vxnet-a"],
                "qingcni_policy": "Random",
                "qingcni_keep_address": "1h",
                "qingcni_log_level": "debug",
                "qingcni_default_route": "none",
            },
            {
                "vxnets": ["vxnet-a"],
                "policy": "Random",
                "keepAddress": "1h",
                "logLevel": "debug",
                "defaultRoute": "none",
            },
            ["portmap"],
        ),
        ({"qingagent_bindaddr": "127.0.0.1:4"}, {"args": {"BindAddr": "127.0.0.1:4"}}, ["portmap"]),
    ],
)
def test_the_plugin_accepts_the_configuration_that_the_role_writes(
    tmp_path: Path, given: dict[str, t.Any], first: dict[str, t.Any], others: list[str]
) -> None:
    written = rendered("qingcni", given, "{{ _qingcni_conflist | to_nice_json }}", tmp_path)
    assert (written["cniVersion"], written["name"]) == ("1.0.0", "qingcloud")
    plugin, *rest = written["plugins"]
    assert {key: plugin[key] for key in first} == first
    assert [item["type"] for item in rest] == others
    assert plugin["capabilities"] == dict.fromkeys(wishes.CAPABILITIES, True)
    assert keys.unknown(plugin) == []
    netconf.parse({**plugin, "name": written["name"]}, given.get("qingagent_bindaddr", Settings().bindaddr))


def test_mesos_gets_the_same_as_one_plugin_of_its_version(tmp_path: Path) -> None:
    given = {"qingcni_routes": [{"dst": "10.96.0.0/12"}]}
    [file] = rendered("qingcni", given, "{{ _qingcni_single_files | to_json }}", tmp_path)
    assert file["path"] == "/etc/mesos-cni/qingcloud.conf"
    written = json.loads(file["content"])
    assert (written["cniVersion"], written["name"], written["type"]) == ("0.2.0", "qingcloud", "qingcni")
    assert "plugins" not in written and "capabilities" not in written
    passed = {"org.apache.mesos": {"network_info": {"name": "qingcloud", "labels": {}}}}
    called = {**written, "args": {**written["args"], **passed}}
    assert keys.unknown(called) == []
    conf = netconf.parse(called, Settings().bindaddr)
    assert conf.is_gateway and conf.routes[0].dst == "10.96.0.0/12"


@pytest.mark.parametrize(
    ("reasons", "given", "pods"),
    [
        ({"cap": 60, "limit": 64, "foreign": 1, "gateways": 0}, {}, 62),
        ({"cap": 60, "limit": 64, "foreign": 4, "gateways": 0}, {"qingcni_host_network_pods": 0}, 60),
        ({"cap": 57, "limit": 64, "foreign": 7, "gateways": 0}, {"qingcni_host_network_pods": 0}, 57),
        # a gateway NIC takes its place when the first pod of its vxnet wants it
        (
            {"cap": 13, "limit": 16, "foreign": 2, "gateways": 1},
            {"qingcni_is_gateway": True, "qingagent_vxnet": ["vxnet-a", "vxnet-b"], "qingcni_host_network_pods": 5},
            12 + 5,
        ),
        ({"cap": 20, "limit": 64, "foreign": 1, "gateways": 0}, {"qingcni_is_gateway": True}, 22),
        ({"cap": 0, "limit": 2, "foreign": 2, "gateways": 1}, {}, 2),
    ],
)
def test_as_many_pods_as_there_are_nics_for(
    tmp_path: Path, reasons: dict[str, int], given: dict[str, t.Any], pods: int
) -> None:
    told = {**given, "__qingcni_explained": {"stdout": json.dumps(reasons)}}
    assert rendered("qingcni", told, "{{ _qingcni_max_pods }}", tmp_path) == pods


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("config-dir", {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "maxPods": 57}),
        ("k3s", {"kubelet-arg+": ["max-pods=57"]}),
        ("rke2", {"kubelet-arg+": ["max-pods=57"]}),
    ],
)
def test_what_a_kubelet_is_told(tmp_path: Path, kind: str, written: dict[str, t.Any]) -> None:
    given = {"qingcni_max_pods": 57}
    assert rendered("qingcni", given, f"{{{{ _qingcni_kubelet_texts['{kind}'] }}}}", tmp_path) == written
