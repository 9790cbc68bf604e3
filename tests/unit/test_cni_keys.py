# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys of network configurations: ours, everybody's, strangers', and misspelt ones."""

from __future__ import annotations

import typing as t

import pytest

from hostnic.cni import keys
from hostnic.errors import InvalidConfig


def test_keys_of_ours_and_of_the_specification_are_known() -> None:
    config = dict.fromkeys((*keys.OURS, "cniVersion", "name", "type", "args", "dns", "runtimeConfig", "prevResult"))
    assert keys.unknown({**config, "ipam": {"routes": [], "type": "x"}, "cni.dev/attachments": []}) == []


def test_strange_keys_are_told_and_no_error() -> None:
    config = {"name": "pods", "bridge": "br0", "isDefaultGateway": True, "ipMasqBackend": "nft", "ipam": {"ranges": []}}
    assert keys.unknown(config) == ["bridge", "isDefaultGateway", "ipMasqBackend", "ipam.ranges"]


@pytest.mark.parametrize(
    ("config", "wrong", "meant"),
    [
        ({"isgateway": True}, "isgateway", "isGateway"),
        ({"is_gateway": True}, "is_gateway", "isGateway"),
        ({"isGatway": True}, "isGatway", "isGateway"),
        ({"ipmasq": True}, "ipmasq", "ipMasq"),
        ({"ipMask": True}, "ipMask", "ipMasq"),
        ({"vxNet": "vxnet-a"}, "vxNet", "vxnet"),
        ({"MTU": 1400}, "MTU", "mtu"),
        ({"default-route": "gateway"}, "default-route", "defaultRoute"),
        ({"loglevel": "debug"}, "loglevel", "logLevel"),
        ({"ipam": {"route": []}}, "ipam.route", "ipam.routes"),
    ],
)
def test_a_misspelt_key_is_named_with_the_one_that_is_meant(config: dict[str, t.Any], wrong: str, meant: str) -> None:
    with pytest.raises(InvalidConfig) as caught:
        keys.unknown(config)
    assert f"{wrong}: " in caught.value.message
    assert f"{meant} is meant" in caught.value.message
