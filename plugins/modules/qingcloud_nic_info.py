#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qingcloud_nic_info
short_description: Tell about NICs
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Tells which NICs there are in the cloud, where they are attached, and whose they are by their names.
  - Filters go together. Without any, all NICs of the account in the zone are told.
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
  nics:
    description: Ids of NICs. Those that the cloud does not have are left out.
    type: list
    elements: str
  nic_name:
    description: The whole name of the NICs.
    type: str
  instance:
    description: Id of the instance that they are attached to.
    type: str
  vxnet:
    description: Id of their vxnet.
    type: str
  gatewayns:
    description: The agents' setting of that name, which tells their gateway NICs.
    type: str
    default: hostnic
"""

EXAMPLES = r"""
- name: Ask which NICs an instance has
  qingcloud.cni.qingcloud_nic_info:
    instance: i-0a1b2c3d
  register: attached
"""

RETURN = r"""
nics:
  description: The NICs, by id.
  type: list
  elements: dict
  returned: success
  contains:
    nic_id:
      description: Its id, which is its MAC address.
      type: str
      sample: "52:54:00:aa:bb:01"
    nic_name:
      description: Its name.
      type: str
      sample: qingcni_i-0a1b2c3d
    vxnet_id:
      description: Its vxnet.
      type: str
      sample: vxnet-0a1b2c3
    private_ip:
      description: Its address.
      type: str
      sample: 172.16.1.9
    status:
      description: V(in-use) where it is attached, else V(available).
      type: str
      sample: in-use
    instance_id:
      description: The instance that it is attached to, or empty.
      type: str
      sample: i-0a1b2c3d
    primary:
      description: Whether it is the primary NIC of its instance.
      type: bool
    created:
      description: When it was made, in seconds since 1970. 0 where that is not known.
      type: int
      sample: 1714550400
    owner:
      description: The instance whose agent calls its NICs so. Empty for a NIC of another name.
      type: str
      sample: i-0a1b2c3d
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import access, packages
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, t.Any] = {
    **access.ARGUMENTS,
    **packages.ARGUMENTS,
    "nics": {"type": "list", "elements": "str"},
    "nic_name": {},
    "instance": {},
    "vxnet": {},
    "gatewayns": {"default": "hostnic"},
}


def look(wanted: dict[str, t.Any]) -> dict[str, t.Any]:
    """The module's result."""
    from ..module_utils._ansible.nic_facts import facts
    from ..module_utils.hostnic.nics import owner_of

    cloud = access.connect(wanted)
    filters = {"nic_ids": "nics", "name": "nic_name", "instance_id": "instance", "vxnet_id": "vxnet"}
    given = {name: wanted[option] for name, option in filters.items() if wanted[option] is not None}
    found = cloud.describe_nics(**given) if given else cloud.all_nics()
    told = [{**facts(nic), "owner": owner_of(nic.nic_name, wanted["gatewayns"])} for nic in found]
    return {"changed": False, "nics": sorted(told, key=lambda nic: nic["nic_id"])}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    packages.use(module)
    run(module, lambda: look(module.params))


if __name__ == "__main__":
    main()
