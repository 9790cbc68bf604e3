# SPDX-License-Identifier: GPL-3.0-or-later
"""Two clients for the emulator: the real SDK, and one of the standard library that signs on its own."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import typing as t
import urllib.parse
import urllib.request
from datetime import datetime, timedelta, timezone

from qingcloud.iaas.connection import APIConnection

from tests.emulator import Emulator

ZONE = "lab1"
KEY, SECRET, OWNER = "AAAAAAAAAAAAAAAAAAAA", "s" * 40, "usr-0a1b2c3d"
OTHER_KEY, OTHER_SECRET, OTHER_OWNER = "BBBBBBBBBBBBBBBBBBBB", "o" * 40, "usr-00000002"
ROUTER, PODS, PODS_B, NODES = "rtr-0a1b2c3d", "vxnet-0a1b2c3", "vxnet-0a1b2c4", "vxnet-0a1b2c5"
ALONE, UNMANAGED, BASE, FOREIGN = "vxnet-alone01", "vxnet-self001", "vxnet-0", "vxnet-foreig1"
NODE, NODE_B, STOPPED = "i-00000001", "i-00000002", "i-00000003"

WORLD: dict[str, t.Any] = {
    "zone": ZONE,
    "access_keys": [
        {"access_key_id": KEY, "secret_access_key": SECRET, "owner": OWNER},
        {"access_key_id": OTHER_KEY, "secret_access_key": OTHER_SECRET, "owner": OTHER_OWNER},
    ],
    "routers": [{"router_id": ROUTER, "vpc_network": "172.16.0.0/16", "router_name": "vpc-a"}],
    "vxnets": [
        {"vxnet_id": NODES, "vxnet_name": "nodes", "ip_network": "172.16.0.0/24", "router_id": ROUTER},
        {"vxnet_id": PODS, "vxnet_name": "pods-a", "ip_network": "172.16.1.0/24", "router_id": ROUTER},
        {"vxnet_id": PODS_B, "vxnet_name": "pods-b", "ip_network": "172.16.2.0/24", "router_id": ROUTER},
        {"vxnet_id": ALONE, "ip_network": "172.16.3.0/24"},
        {"vxnet_id": UNMANAGED, "vxnet_type": 0},
        {"vxnet_id": BASE, "vxnet_type": 2, "ip_network": "10.50.0.0/24"},
        {"vxnet_id": FOREIGN, "ip_network": "172.16.4.0/24", "router_id": ROUTER, "owner": OTHER_OWNER},
    ],
    "instances": [
        {
            "instance_id": NODE,
            "instance_name": "node-1",
            "primary": {"vxnet_id": NODES, "private_ip": "172.16.0.11", "nic_id": "52:54:00:00:00:01"},
        },
        {"instance_id": NODE_B, "primary": {"vxnet_id": NODES}},
        {"instance_id": STOPPED, "status": "stopped", "primary": {"vxnet_id": NODES}},
    ],
}

Reply = dict[str, t.Any]

# A proxy that the environment names is not for loopback.
fetch = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def now_stamp(offset: float = 0.0) -> str:
    moment = datetime.now(timezone.utc) + timedelta(seconds=offset)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def flat(values: t.Mapping[str, t.Any]) -> dict[str, str]:
    """Lists as name.N from 1."""
    result: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, list):
            result.update({f"{name}.{number}": str(item) for number, item in enumerate(value, 1)})
        else:
            result[name] = str(value)
    return result


def signed(method: str, path: str, values: t.Mapping[str, str], secret: str) -> dict[str, str]:
    digest = {"HmacSHA256": hashlib.sha256, "HmacSHA1": hashlib.sha1}[values["signature_method"]]
    query = "&".join(f"{_encoded(name)}={_encoded(values[name])}" for name in sorted(values))
    mac = hmac.new(secret.encode(), f"{method}\n{path}\n{query}".encode(), digest)
    return {**values, "signature": base64.b64encode(mac.digest()).decode()}


def _encoded(text: str) -> str:
    return urllib.parse.quote(text, safe="-_.~")


def common(action: str, key: str = KEY, **changed: str) -> dict[str, str]:
    values = {
        "action": action,
        "access_key_id": key,
        "signature_method": "HmacSHA256",
        "signature_version": "1",
        "time_stamp": now_stamp(),
        "version": "1",
        "zone": ZONE,
    }
    return {name: value for name, value in {**values, **changed}.items() if value is not None}


def send(base: str, path: str, values: t.Mapping[str, str], method: str = "GET") -> Reply:
    """No retries; raises what urllib raises."""
    query = urllib.parse.urlencode(values, quote_via=urllib.parse.quote)
    url, data = (f"{base}{path}?{query}", None) if method == "GET" else (f"{base}{path}", query.encode())
    with fetch(urllib.request.Request(url, data, method=method), timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("application/json")
        reply: Reply = json.loads(answer.read())
        return reply


class UrllibClient:
    def __init__(
        self, base: str, key: str = KEY, secret: str = SECRET, path: str = "/iaas/", method: str = "GET"
    ) -> None:
        self._base, self._key, self._secret, self._path, self._method = base, key, secret, path, method

    def __call__(self, action: str, **values: t.Any) -> Reply:
        wanted = {**common(action, self._key), **flat(values)}
        request = signed(self._method, self._path, wanted, self._secret)
        return send(self._base, self._path, request, self._method)


class SdkClient:
    """One attempt a call; keyword arguments go to the API as they are."""

    def __init__(self, base: str, key: str = KEY, secret: str = SECRET, verb: str = "GET") -> None:
        host, port = base[len("http://") :].split(":")
        self.connection = APIConnection(
            key, secret, ZONE, host=host, port=int(port), protocol="http", retry_time=1, http_socket_timeout=10
        )
        self._verb = verb

    def __call__(self, action: str, **values: t.Any) -> Reply:
        reply: Reply = self.connection.send_request(action, dict(values), verb=self._verb)
        return reply


Client = t.Callable[..., Reply]


class Rig:
    """A started emulator with a client; ``ok`` and ``refused`` also check the envelope."""

    def __init__(self, emu: Emulator, client: Client) -> None:
        self.emu = emu
        self.call = client

    def ok(self, action: str, **values: t.Any) -> Reply:
        reply = self.call(action, **values)
        assert reply["ret_code"] == 0, reply
        assert reply["action"] == f"{action}Response"
        return reply

    def refused(self, code: int, action: str, **values: t.Any) -> str:
        """The message."""
        reply = self.call(action, **values)
        assert reply["ret_code"] == code, reply
        assert set(reply) == {"ret_code", "message"}
        return str(reply["message"])

    def set(self, **changes: t.Any) -> None:
        self.emu.control.change_settings(changes)

    def create(self, count: int = 1, vxnet: str = PODS, **values: t.Any) -> list[str]:
        return [nic["nic_id"] for nic in self.ok("CreateNics", vxnet=vxnet, count=count, **values)["nics"]]

    def attach(self, nics: list[str], instance: str = NODE) -> str:
        return str(self.ok("AttachNics", nics=nics, instance=instance)["job_id"])

    def attached(self, count: int = 1, instance: str = NODE) -> list[str]:
        """NICs that have been created and attached."""
        nics = self.create(count)
        self.attach(nics, instance)
        self.emu.advance(60)
        return nics

    def nic(self, nic_id: str) -> Reply:
        found = self.ok("DescribeNics", nics=[nic_id])["nic_set"]
        assert len(found) == 1
        item: Reply = found[0]
        return item

    def job(self, job_id: str) -> Reply:
        item: Reply = self.ok("DescribeJobs", jobs=[job_id])["job_set"][0]
        return item


def control(emu: Emulator, method: str, path: str, body: t.Any = None) -> t.Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{emu.control_url}/control/{path}", data, method=method)
    with fetch(request, timeout=30) as answer:
        return json.loads(answer.read())
