# SPDX-License-Identifier: GPL-3.0-or-later
"""Link messages come out the same, whatever else pyroute2 was used for in this process."""

from __future__ import annotations

from hostnic.net.encoders import encode
from hostnic.net.lean import modules_of

with modules_of("pyroute2"):  # the package's own __init__ trips over modules that are loaded already
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

CONF = (("arp_notify", 1), ("accept_redirects", 0))


def test_the_links_ipv4_settings_survive_pyroute2s_own_use() -> None:
    ifinfmsg()["attrs"] = [("IFLA_IFNAME", "eth0")]  # compiles the tables of pyroute2's class
    spec = ("IFLA_AF_SPEC", (("AF_INET", (("IFLA_INET_CONF", CONF),)),))
    written = encode("link", 16, 5, {"index": 7}, (spec,)).hex()
    arp_notify, accept_redirects = "0800160001000000", "0800040000000000"
    assert arp_notify in written and accept_redirects in written


def test_alternative_names_are_marked_as_nested() -> None:
    names = ("IFLA_PROP_LIST", (("IFLA_ALT_IFNAME", b"abc"),))
    assert encode("link", 109, 5, {"index": 7}, (names,)).hex().endswith("0c0034800800350061626300")


def test_a_descriptor_is_the_last_attribute_and_no_message_is_kept_for_it() -> None:
    name = (("IFLA_IFNAME", "eth0"),)
    kept = encode("link", 16, 5, {"index": 7}, name)
    moves = [encode("link", 16, 5, {"index": 7}, name, (28, number)) for number in range(3000)]
    assert moves[258].hex() == "34" + kept.hex()[2:] + "08001c0002010000"
    assert encode("link", 16, 5, {"index": 7}, name) is kept
