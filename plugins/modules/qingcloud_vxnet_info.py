#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qingcloud_vxnet_info
short_description: Tell about vxnets, and whether pods can have NICs in them
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Tells the network, the router and the free addresses of vxnets, and why no NIC for a pod can be made where that is
    so.
extends_documentation_fragment:
  - qingcloud.cni._access
  - qingcloud.cni._packages
  - qingcloud.cni._attributes
  - qingcloud.cni._attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  vxnets:
    description:
      - Ids of vxnets. Those that the account does not have are told as not usable.
      - Without it all vxnets of the account in the zone are told, base networks left out.
    type: list
    elements: str
"""

EXAMPLES = r"""
- name: Ask for the vxnets of pods
  qingcloud.cni.qingcloud_vxnet_info:
    vxnets: [vxnet-0a1b2c3]
    zone: pek3b
  register: pods

- name: Stop where none has an address left
  ansible.builtin.assert:
    that: pods.vxnets | selectattr('usable') | length > 0
"""

RETURN = r"""
vxnets:
  description: The vxnets, in the order of O(vxnets).
  type: list
  elements: dict
  returned: success
  contains:
    vxnet_id:
      description: Its id.
      type: str
      sample: vxnet-0a1b2c3
    vxnet_name:
      description: Its name.
      type: str
      sample: pods
    network:
      description: Its addresses. Empty where it is in no router.
      type: str
      sample: 172.16.1.0/24
    gateway:
      description: The router's address in it.
      type: str
      sample: 172.16.1.1
    router_id:
      description: The VPC's router.
      type: str
      sample: rtr-0a1b2c3d
    available:
      description: How many addresses are free.
      type: int
      sample: 240
    usable:
      description: Whether a NIC for a pod can be made in it now.
      type: bool
    reason:
      description: Why not, and what to do about it. Empty where it is usable.
      type: str
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import access, packages
from ..module_utils._ansible.module import run

if t.TYPE_CHECKING:
    from ..module_utils.hostnic.model import Vxnet

ARGUMENTS: dict[str, t.Any] = {
    **access.ARGUMENTS,
    **packages.ARGUMENTS,
    "vxnets": {"type": "list", "elements": "str"},
}


def look(wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """The module's result."""
    cloud = access.connect(wanted)
    found = cloud.all_vxnets() if wanted["vxnets"] is None else cloud.describe_vxnets(wanted["vxnets"])
    told = {vxnet.vxnet_id: facts(vxnet) for vxnet in found}
    order = sorted(told) if wanted["vxnets"] is None else dict.fromkeys(wanted["vxnets"])
    return {"changed": False, "vxnets": [told.get(vxnet_id) or unknown(vxnet_id) for vxnet_id in order]}


def facts(vxnet: Vxnet) -> dict[str, t.Any]:
    problem = vxnet.problem()
    return {
        "vxnet_id": vxnet.vxnet_id,
        "vxnet_name": vxnet.name,
        "network": vxnet.network,
        "gateway": vxnet.gateway,
        "router_id": vxnet.router_id,
        "available": vxnet.available,
        "usable": problem is None,
        "reason": problem.message if problem else "",
    }


def unknown(vxnet_id: str) -> dict[str, t.Any]:
    reason = f"vxnet {vxnet_id} is unknown to this account in this zone: check vxnets and zone"
    nothing = dict.fromkeys(("vxnet_name", "network", "gateway", "router_id"), "")
    return {"vxnet_id": vxnet_id, **nothing, "available": None, "usable": False, "reason": reason}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    packages.use(module)
    run(module, lambda: look(module.params))


if __name__ == "__main__":
    main()
