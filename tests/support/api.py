# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's cloud as an outsider with the account's key sees it, through the SDK alone."""

from __future__ import annotations

import typing as t
from urllib.parse import urlsplit

from qingcloud.iaas.connection import APIConnection  # type: ignore[import-untyped]

from tests.lab.lab import Lab
from tests.lab.wait import until


class Api:
    def __init__(self, lab: Lab) -> None:
        url = urlsplit(lab.api.url)
        self._connection = APIConnection(
            lab.api.access_key_id, lab.api.secret_access_key, lab.api.zone, url.hostname, url.port, url.scheme
        )

    def call(self, action: str, **parameters: t.Any) -> dict[str, t.Any]:
        answer = self._connection.send_request(action, parameters)
        if not answer or answer["ret_code"]:
            raise AssertionError(f"{action}: {answer}")
        return dict(answer)

    def attach_foreign(self, vxnet_id: str, instance_id: str) -> str:
        """A NIC that nobody but the operator knows of, attached; returns its id."""
        made = self.call("CreateNics", vxnet=vxnet_id, count=1, nic_name="operators-own")
        nic_id = str(made["nics"][0]["nic_id"])
        self.call("AttachNics", nics=[nic_id], instance=instance_id)
        until(lambda: self.status(nic_id) == "in-use", 30, "the foreign NIC's attachment")
        return nic_id

    def status(self, nic_id: str) -> str:
        (nic,) = self.call("DescribeNics", nics=[nic_id])["nic_set"]
        return str(nic["status"])

    def remove(self, nic_id: str) -> None:
        self.call("DetachNics", nics=[nic_id])
        until(lambda: self.status(nic_id) == "available", 30, "the foreign NIC's detachment")
        self.call("DeleteNics", nics=[nic_id])
