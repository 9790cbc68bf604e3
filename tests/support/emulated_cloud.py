# SPDX-License-Identifier: GPL-3.0-or-later
"""The emulated cloud with a small world in it, and clients of it that read an access file."""

from __future__ import annotations

import typing as t
from pathlib import Path

from hostnic.cloud.build import connect
from hostnic.cloud.limiter import RateLimiter
from hostnic.cloud.qingcloud import QingCloud
from hostnic.config import Settings
from tests.emulator import Emulator, ManualClock
from tests.emulator import Settings as CloudSettings

HERE, THERE = "i-0a1b2c3d", "i-other000"
NAME = f"qingcni_{HERE}"
WORLD: t.Final = {
    "zone": "pek3a",
    "access_keys": [{"access_key_id": "AK", "secret_access_key": "SK", "owner": "usr-00000001"}],
    "routers": [{"router_id": "rtr-1", "vpc_network": "192.168.0.0/16", "owner": "usr-00000001"}],
    "vxnets": [
        {"vxnet_id": "vxnet-a", "ip_network": "192.168.1.0/24", "router_id": "rtr-1", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-b", "ip_network": "192.168.2.0/23", "router_id": "rtr-1", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-lone", "owner": "usr-00000001"},
        {"vxnet_id": "vxnet-0", "vxnet_type": 2, "owner": "usr-00000001"},
    ],
    "instances": [
        {"instance_id": HERE, "primary": {"vxnet_id": "vxnet-a"}, "owner": "usr-00000001"},
        {"instance_id": THERE, "primary": {"vxnet_id": "vxnet-a"}, "owner": "usr-00000001"},
    ],
}


class EmulatedCloud:
    """The emulator with `settings`, and how to get a client of it."""

    def __init__(self, directory: Path, **settings: t.Any) -> None:
        self.clock = ManualClock()
        self.emulator = Emulator(CloudSettings().changed(settings), world=WORLD, clock=self.clock)
        self._directory = directory
        self.slept: list[float] = []

    def client(
        self,
        text: str = "qy_access_key_id: AK\nqy_secret_access_key: SK\n",
        settings: t.Optional[t.Mapping[str, t.Any]] = None,
        **more: t.Any,
    ) -> QingCloud:
        host, port = self.emulator.url.rpartition("/")[2].split(":")
        meta = self.emulator.metadata_url.rpartition(":")[2]
        path = self._directory / "client.yaml"
        path.write_text(
            f"{text}host: '{host}'\nport: {port}\nprotocol: http\nuri: /iaas\nzone: pek3a\nconnection_timeout: 5\n"
            f"credential_proxy_host: '127.0.0.1'\ncredential_proxy_port: {meta}\n"
        )
        path.chmod(0o600)
        arguments = {"limiter": RateLimiter(1e6, 1000), "sleep": self.slept.append, **more}
        return connect(Settings(access_file=str(path), **(settings or {})), **arguments)

    def fault(self, action: str, kind: str, **more: t.Any) -> None:
        self.emulator.faults.order({"action": action, "kind": kind, **more})

    def calls(self, action: str) -> int:
        return int(self.emulator.counters.to_dict()["calls"].get(action, 0))

    def count(self) -> int:
        return len(self.emulator.cloud.nics)
