# SPDX-License-Identifier: GPL-3.0-or-later
"""What runtimes ask for: address, MAC, name servers, from wherever they say so."""

from __future__ import annotations

import typing as t

import pytest

from hostnic.cni.wishes import ADDRESS_ANNOTATION, ANNOTATIONS, KEEP_ANNOTATION, Wishes, wishes
from hostnic.errors import InvalidConfig

ADDRESS, MAC = "172.16.1.9", "52:54:00:00:00:01"


def asked(args: t.Optional[dict[str, str]] = None, **runtime: t.Any) -> Wishes:
    return wishes({"runtimeConfig": runtime}, args or {})


def annotated(**annotations: t.Any) -> dict[str, t.Any]:
    names = {"ip": ADDRESS_ANNOTATION, "keep": KEEP_ANNOTATION}
    return {ANNOTATIONS: {names[key]: value for key, value in annotations.items()}}


def test_usually_nothing_is_asked_for() -> None:
    assert wishes({}, {"K8S_POD_NAME": "web"}) == Wishes() == wishes({"runtimeConfig": None}, {})


@pytest.mark.parametrize(
    "found",
    [
        asked(ips=[ADDRESS]),
        asked(ips=[f"{ADDRESS}/24"]),
        asked(**annotated(ip=ADDRESS)),
        asked({"IP": ADDRESS}),
        asked({"IP": "172.16.1.77"}, ips=[ADDRESS]),
        asked({"IP": "172.16.1.77"}, **annotated(ip=ADDRESS)),
        asked(ips=[ADDRESS], **annotated(ip="172.16.1.77")),
    ],
)
def test_an_address_comes_as_capability_as_annotation_or_as_argument_in_this_order(found: Wishes) -> None:
    assert found.address == ADDRESS


@pytest.mark.parametrize("found", [asked(mac=MAC.upper()), asked({"MAC": MAC})])
def test_a_mac_comes_as_capability_or_as_argument(found: Wishes) -> None:
    assert found.mac == MAC


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300.0), ("0", 0.0), ("1h30m", 5400.0)])
def test_a_pod_says_how_long_its_address_is_kept(text: str, seconds: float) -> None:
    assert asked(**annotated(ip=ADDRESS, keep=text)).keep == seconds


def test_name_servers_have_other_names_in_a_result() -> None:
    found = asked(dns={"servers": ["10.96.0.10"], "searches": ["svc"], "options": ["ndots:5"]})
    assert found.dns == {"nameservers": ["10.96.0.10"], "search": ["svc"], "options": ["ndots:5"]}


@pytest.mark.parametrize(
    ("where", "ask"),
    [
        ("runtimeConfig.ips", lambda: asked(ips=[ADDRESS, "172.16.1.10"])),
        ("runtimeConfig.ips", lambda: asked(ips="172.16.1.9")),
        ("runtimeConfig.ips", lambda: asked(ips=["nonsense"])),
        ("runtimeConfig.ips", lambda: asked(ips=[7])),
        ("runtimeConfig.ips: 'fd00::9' is IPv6", lambda: asked(ips=["fd00::9"])),
        (f"annotation {ADDRESS_ANNOTATION}", lambda: asked(**annotated(ip="172.16.1.900"))),
        (f"annotation {KEEP_ANNOTATION}", lambda: asked(**annotated(keep="for ever"))),
        (f"annotation {KEEP_ANNOTATION}", lambda: asked(**annotated(keep=5))),
        ("CNI_ARGS: IP", lambda: asked({"IP": "x"})),
        ("CNI_ARGS: MAC", lambda: asked({"MAC": "52:54"})),
        ("runtimeConfig.mac", lambda: asked(mac=7)),
        ("runtimeConfig.dns.servers", lambda: asked(dns={"servers": "10.96.0.10"})),
        ("runtimeConfig.dns", lambda: asked(dns=["10.96.0.10"])),
        ("runtimeConfig", lambda: wishes({"runtimeConfig": []}, {})),
        (f"runtimeConfig.{ANNOTATIONS}", lambda: asked(**{ANNOTATIONS: "x"})),
    ],
)
def test_a_wish_that_cannot_be_understood_is_named(where: str, ask: t.Callable[[], Wishes]) -> None:
    with pytest.raises(InvalidConfig) as caught:
        ask()
    assert caught.value.message.startswith(where)
