# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows 4 to 8 and 10 to 17 of the checklist: what is refused before anything happens, with which code."""

from __future__ import annotations

import json
import typing as t

import pytest

from hostnic.cni import skel, spec
from hostnic.cni.spec import CniError

ENV = {
    "CNI_COMMAND": "ADD",
    "CNI_CONTAINERID": "c1",
    "CNI_NETNS": "/run/netns/x",
    "CNI_IFNAME": "eth0",
    "CNI_PATH": "/opt/cni/bin",
}
CONFIG = {"cniVersion": "1.0.0", "name": "pods", "type": "qingcni"}


CONFIG_TEXT = json.dumps(CONFIG)


def refused(env: t.Mapping[str, str], config: t.Any = CONFIG_TEXT) -> CniError:
    with pytest.raises(CniError) as caught:
        skel.validate(env, config if isinstance(config, str) else json.dumps(config))
    return caught.value


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in ENV.items() if name not in names}


def test_an_add_is_understood() -> None:
    call = skel.validate({**ENV, "CNI_ARGS": "IgnoreUnknown=1;K8S_POD_NAME=web-0;X=y"}, json.dumps(CONFIG))
    assert (call.verb, call.version, call.netns) == ("ADD", "1.0.0", "/run/netns/x")
    assert (call.key.network, call.key.container_id, call.key.ifname) == ("pods", "c1", "eth0")
    assert call.args == {"K8S_POD_NAME": "web-0", "X": "y"}


@pytest.mark.parametrize("version", spec.SUPPORTED)
@pytest.mark.parametrize("verb", ["ADD", "DEL"])
def test_every_version_is_served_by_its_exact_name(verb: str, version: str) -> None:
    config = json.dumps({**CONFIG, "cniVersion": version})
    assert skel.validate({**ENV, "CNI_COMMAND": verb}, config).version == version


@pytest.mark.parametrize(
    ("verb", "missing"),
    [
        ("ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"]),
        ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"]),
        ("GC", ["CNI_PATH"]),
        ("STATUS", ["CNI_PATH"]),
    ],
)
def test_all_missing_variables_are_named_at_once(verb: str, missing: list[str]) -> None:
    error = refused({"CNI_COMMAND": verb})
    assert error.code == 4
    assert error.message == f"required env variables [{','.join(missing)}] missing"
    for name in missing:
        assert name in refused({**ENV, "CNI_COMMAND": verb, name: ""}).message


def test_without_a_command_that_is_what_is_missing() -> None:
    assert refused({}).message == "required env variables [CNI_COMMAND] missing"


@pytest.mark.parametrize("value", ["-c", ".c", "_c", "a/b", "a b", "ä", "a\n", "a\udc80", "a\0"])
def test_a_container_id_of_other_signs_is_refused(value: str) -> None:
    error = refused({**ENV, "CNI_CONTAINERID": value})
    assert error.code == 4
    assert "CNI_CONTAINERID" in error.message


def test_a_container_id_may_be_long() -> None:
    assert skel.validate({**ENV, "CNI_CONTAINERID": "a" * 300}, json.dumps(CONFIG)).container_id == "a" * 300


@pytest.mark.parametrize(
    "value",
    ["a" * 16, "ä" * 8, ".", "..", "a/b", "a:b", "a b", "a\n", "a\u00a0b", "a\u2028", "a\0", "eth%d", "a\udc80"],
)
def test_an_ifname_that_the_kernel_would_refuse_or_change_is_refused(value: str) -> None:
    error = refused({**ENV, "CNI_IFNAME": value})
    assert error.code == 4
    assert "CNI_IFNAME" in error.message


@pytest.mark.parametrize("value", ["a" * 15, "ä" * 7, "eth0.1", "...", "a-b_c"])
def test_other_ifnames_are_taken(value: str) -> None:
    assert skel.validate({**ENV, "CNI_IFNAME": value}, json.dumps(CONFIG)).ifname == value


@pytest.mark.parametrize("config", ["", "{", "[]", "null", "1", "[" * 100_000, "\ufeff{}"])
def test_stdin_that_is_no_json_object_is_code_6(config: str) -> None:
    assert refused(ENV, config).code == 6


def test_how_deep_it_may_be_nested_does_not_depend_on_python() -> None:
    for opening, closing in ("[]", ('{"x":', "}")):
        deep, deepest = (opening * levels + "1" + closing * levels for levels in (500, 499))
        assert skel.validate(ENV, f'{CONFIG_TEXT[:-1]}, "x": {deepest}}}').verb == "ADD"
        assert (refused(ENV, f'{CONFIG_TEXT[:-1]}, "x": {deep}}}').code) == 6


@pytest.mark.parametrize("name", [None, "", "-x", "a/b", "a\n", 7, ["x"], {}])
def test_a_missing_or_wrong_network_name_is_code_7(name: t.Any) -> None:
    config = {key: value for key, value in {**CONFIG, "name": name}.items() if value is not None}
    assert refused(ENV, config).code == 7


def test_environment_is_looked_at_before_stdin() -> None:
    assert refused(without("CNI_NETNS"), "{").code == 4


@pytest.mark.parametrize(
    ("verb", "version"),
    [
        *(
            (verb, version)
            for verb in ("ADD", "DEL")
            for version in ("0.0.9", "0.3", "1.0", "1.0.0 ", "01.0.0", "1.0.1", "1.1.1", "2.0.0", "x")
        ),
        *((verb, version) for verb in ("CHECK", "GC", "STATUS") for version in ("1.1.1", "2.0.0", "1.1")),
    ],
)
def test_another_version_is_incompatible(verb: str, version: str) -> None:
    error = refused({**ENV, "CNI_COMMAND": verb}, {**CONFIG, "cniVersion": version})
    assert (error.code, error.message) == (1, "incompatible CNI versions")
    assert error.details == {"config": version, "plugin_supports": " ".join(spec.SUPPORTED)}


@pytest.mark.parametrize("config", [{"name": "pods"}, {"name": "pods", "cniVersion": ""}])
def test_no_version_is_the_first_one(config: dict[str, str]) -> None:
    assert skel.validate(ENV, json.dumps(config)).version == "0.1.0"


def test_a_version_that_is_no_text_is_code_7() -> None:
    assert refused(ENV, {**CONFIG, "cniVersion": 1.0}).code == 7


@pytest.mark.parametrize(
    ("verb", "version"),
    [("CHECK", "0.3.1"), ("CHECK", "0.1.0"), ("CHECK", "x"), ("CHECK", "0.-4.0"), ("GC", "1.0.0"), ("STATUS", "1.0.0")],
)
def test_a_verb_needs_a_configuration_of_its_version(verb: str, version: str) -> None:
    error = refused({**ENV, "CNI_COMMAND": verb}, {**CONFIG, "cniVersion": version})
    assert (error.code, error.message) == (1, f"config version does not allow {verb}")


@pytest.mark.parametrize(
    ("verb", "version"),
    [("CHECK", "0.4.0"), ("CHECK", "1.0.0"), ("CHECK", "1.1.0"), ("GC", "1.1.0"), ("STATUS", "1.1.0")],
)
def test_later_verbs_are_carried_out(verb: str, version: str) -> None:
    config = json.dumps({**CONFIG, "cniVersion": version})
    assert skel.validate({**ENV, "CNI_COMMAND": verb}, config).verb == verb


def test_an_unknown_verb_is_named_after_the_configuration_was_looked_at() -> None:
    assert refused({"CNI_COMMAND": "ad"}).message == "unknown CNI_COMMAND: ad"
    assert refused({"CNI_COMMAND": "a\nd\u2028"}).message == r"unknown CNI_COMMAND: a\nd\u2028"
    assert refused({"CNI_COMMAND": "ad"}).code == 4
    assert refused({"CNI_COMMAND": "ad"}, "{").code == 6
    assert refused({"CNI_COMMAND": "ad"}, {"name": ""}).code == 7


@pytest.mark.parametrize("args", ["K8S_POD_NAME", "K8S_POD_NAME=a=b", "K8S_POD_NAME=a;", ";", "="])
def test_cni_args_that_are_no_pairs_are_code_4(args: str) -> None:
    error = refused({**ENV, "CNI_ARGS": args})
    assert error.code == 4
    assert "CNI_ARGS" in error.message


def test_cni_args_that_no_journal_could_keep_are_code_4() -> None:
    error = refused({**ENV, "CNI_ARGS": "IgnoreUnknown=1;X=\udcff"})
    assert (error.code, "is not UTF-8" in error.message) == (4, True)


def test_unknown_cni_args_need_permission() -> None:
    error = refused({**ENV, "CNI_ARGS": "X=1;K8S_POD_UID=u"})
    assert error.code == 4
    assert "X" in error.message
    assert "K8S_POD_UID" not in error.message
    for permission in ("IgnoreUnknown=1", "IgnoreUnknown=true", "IgnoreUnknown=TRUE"):
        assert skel.validate({**ENV, "CNI_ARGS": f"X=1;{permission}"}, json.dumps(CONFIG)).args == {"X": "1"}
    assert refused({**ENV, "CNI_ARGS": "X=1;IgnoreUnknown=0"}).code == 4


def test_an_address_and_a_mac_may_be_asked_for() -> None:
    args = {"IP": "172.16.1.9", "MAC": "52:54:00:00:00:01"}
    asked = ";".join(f"{name}={value}" for name, value in args.items())
    assert skel.validate({**ENV, "CNI_ARGS": asked}, json.dumps(CONFIG)).args == args


def test_nothing_in_cni_args_keeps_a_del_from_working() -> None:
    assert skel.validate({**ENV, "CNI_COMMAND": "DEL", "CNI_ARGS": "=;=;IP=1"}, json.dumps(CONFIG)).args == {}


def test_a_del_needs_no_netns() -> None:
    assert skel.validate({**without("CNI_NETNS"), "CNI_COMMAND": "DEL"}, json.dumps(CONFIG)).netns == ""
