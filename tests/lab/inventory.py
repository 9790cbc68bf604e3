# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab as an Ansible inventory."""

from __future__ import annotations

import shlex
import typing as t
from urllib.parse import urlsplit

import yaml

from tests.lab import ssh
from tests.lab.lab import Lab
from tests.lab.paths import SSH_KEY

GROUP = "qingcloud_nodes"


def build(lab: Lab) -> dict[str, t.Any]:
    api = urlsplit(lab.api.url)
    return {
        GROUP: {
            "hosts": {
                node.name: {"ansible_host": node.address, "qingcloud_instance_id": node.instance_id}
                for node in lab.nodes
            },
            "vars": {
                "ansible_user": ssh.USER,
                "ansible_ssh_private_key_file": str(SSH_KEY),
                "ansible_ssh_common_args": shlex.join(ssh.options()),
                "qingagent_access_key_id": lab.api.access_key_id,
                "qingagent_secret_access_key": lab.api.secret_access_key,
                "qingagent_zone": lab.api.zone,
                "qingagent_host": api.hostname,
                "qingagent_port": api.port,
                "qingagent_protocol": api.scheme,
                "qingagent_vxnet": [vxnet.vxnet_id for vxnet in lab.vxnets],
            },
        }
    }


def dump(lab: Lab) -> str:
    return yaml.safe_dump(build(lab), sort_keys=False, default_flow_style=False)
