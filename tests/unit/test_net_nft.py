# SPDX-License-Identifier: GPL-3.0-or-later
"""The nftables script as text."""

from __future__ import annotations

from pathlib import Path

import pytest

from hostnic.errors import InvalidConfig, LinkFailed
from hostnic.net import nft
from hostnic.net.nft import Ruleset

# with the tabs that nft prints
TESTED = """table ip qingcni
delete table ip qingcni
table ip qingcni {
    set vxnets {
        type ipv4_addr; flags interval;
        elements = { 172.16.1.0/24, 172.16.2.0/24 }
    }
    set masqueraded {
        type ipv4_addr; flags interval;
        elements = { 172.16.2.0/24 }
    }
    set private {
        type ipv4_addr; flags interval;
        elements = { 10.0.0.0/8, 100.64.0.0/10, 169.254.0.0/16, 172.16.0.0/12, 192.168.0.0/16 }
    }
    chain postrouting {
        type nat hook postrouting priority 110; policy accept;
        ct status dnat ip saddr @vxnets counter masquerade
        ct status dnat oifname "qg*" counter masquerade
        iifname "qg*" ip saddr @masqueraded ip daddr != @private oifname "eth0" counter masquerade
    }
    chain output {
        type filter hook output priority 0; policy accept;
        oifname "qg*" icmp type redirect counter drop
    }
    chain reply_mark {
        type filter hook prerouting priority -150; policy accept;
        iifname "eth0" ip saddr @vxnets ct direction original ct mark set ct mark or 0x100000
        iifname "qg*" ct direction reply ct mark & 0x100000 != 0 meta mark set meta mark or 0x100000
    }
    chain reply_route {
        type route hook output priority -150; policy accept;
        ct direction reply ct mark & 0x100000 != 0 meta mark set meta mark or 0x100000
    }
}
""".replace("    ", "\t")


def test_the_text_is_the_one_that_was_tried_with_packets() -> None:
    rules = Ruleset(("172.16.2.0/24", "172.16.1.0/24"), ("172.16.2.0/24",), "eth0")
    assert rules.text() == TESTED


def test_symmetric_replies_and_masquerading_are_optional() -> None:
    text = Ruleset(("172.16.1.0/24",), symmetric_replies=False).text()
    assert "reply_" not in text
    masqueraded = text.split("set masqueraded {")[1].split("}")[0]
    assert "elements" not in masqueraded


def test_a_primary_that_is_a_gateway_has_the_second_rule_by_network() -> None:
    text = Ruleset(("172.16.1.0/24",), primary="eth0", primary_is_gateway=True).text()
    assert 'ct status dnat oifname "eth0" ip daddr @vxnets counter masquerade' in text
    assert 'oifname "eth0" ip daddr @vxnets icmp type redirect counter drop' in text


def test_replies_by_a_primary_that_is_a_gateway_heed_the_mark_as_those_by_gateway_nics() -> None:
    rule = 'iifname "eth0" ct direction reply ct mark & 0x100000 != 0 meta mark set meta mark or 0x100000'
    assert rule in Ruleset(("172.16.1.0/24",), primary="eth0", primary_is_gateway=True).text()
    assert rule not in Ruleset(("172.16.1.0/24",), primary="eth0").text()


@pytest.mark.parametrize("name", ["", "a b", 'x"; flush ruleset; "', "sixteen-characte", "eth0\n"])
def test_a_name_that_could_break_out_is_refused(name: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot be used as a link's name"):
        Ruleset((), primary=name).text()


@pytest.mark.parametrize("network", ["", "fd00::/8", "172.16.1.1/24", "nonsense"])
def test_a_network_that_is_none_is_refused(network: str) -> None:
    with pytest.raises(InvalidConfig, match="not an IPv4 network"):
        Ruleset((network,)).text()


def test_nft_that_is_missing_or_refuses_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LinkFailed, match="install the nftables package"):
        nft.run_nft("")
    fake = tmp_path / "nft"
    fake.write_text("#!/bin/sh\necho 'syntax error' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(LinkFailed, match="refused the table ip qingcni: syntax error"):
        nft.run_nft("")
