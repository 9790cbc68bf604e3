#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the code is in module_utils/_ansible/pool.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_pool_info
short_description: Tell about a node's pool of NICs
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Tells which NICs the agent of a node has, which pods use them, and what it is about to do and why.
  - Where no agent runs, it tells what the journal says, and RV(via) says so. The journal stays as it is.
extends_documentation_fragment:
  - qingcloud.cni._pool
  - qingcloud.cni._packages
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
seealso:
  - module: qingcloud.cni.hostnic_pool
"""

EXAMPLES = r"""
- name: Ask for the pool of the node
  qingcloud.cni.hostnic_pool_info:
  register: pool

- name: Stop where pods wait in vain
  ansible.builtin.assert:
    that: pool.plan.trouble is none
"""

RETURN = r"""
via:
  description: Whether the running V(agent) has told this, or the V(journal) of one that does not run.
  type: str
  returned: success
  sample: agent
nics:
  description: The NICs of the pool.
  type: list
  elements: dict
  returned: success
  sample: [{"nic_id": "52:54:9e:00:00:1a", "vxnet_id": "vxnet-0a1b2c3", "private_ip": "172.16.1.5", "state": "READY"}]
leases:
  description: Which pod has which NIC.
  type: list
  elements: dict
  returned: success
  sample: [{"network": "qingcloud", "container_id": "0a1b2c", "ifname": "eth0", "nic_id": "52:54:9e:00:00:1a"}]
plan:
  description: The numbers behind what the pool wants, its next C(actions), and what keeps it from growing (C(trouble)).
  type: dict
  returned: success
  sample: {"used": 1, "ready": 3, "want": 4, "grow": 0, "actions": [], "draining": false}
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import packages, pool
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, t.Any] = {**pool.ARGUMENTS, **packages.ARGUMENTS}


def tell(module: AnsibleModule) -> dict[str, t.Any]:
    reached = pool.reach(module, works=False)
    try:
        told = {"nics": "pool", "leases": "leases", "plan": "explain"}
        return {"changed": False, "via": reached.via, **{name: reached.ask(op) for name, op in told.items()}}
    finally:
        reached.close()


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run(module, lambda: tell(module))


if __name__ == "__main__":
    main()
