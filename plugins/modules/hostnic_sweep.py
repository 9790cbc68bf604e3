#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the use case is in module_utils/_ansible/sweep.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_sweep
short_description: Find NICs that agents left behind, and delete them
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Finds NICs of the account that bear the name of an agent's pool or of its gateway NICs, and whose instance is gone,
    that is, terminated, ceased, or unknown to the cloud. Nobody else would ever delete them.
  - Runs once for a cluster, usually on the control host.
  - Tells only what it finds, unless it is asked to delete. Deletes nothing that is attached, and nothing that is
    a stray for less than O(grace). Looks again just before.
extends_documentation_fragment:
  - qingcloud.cni._access
  - qingcloud.cni._packages
  - qingcloud.cni._attributes
  - qingcloud.cni._attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(reported) tells what there is.
      - V(absent) deletes what may be deleted.
    type: str
    choices: [reported, absent]
    default: reported
  grace:
    description:
      - How long a NIC must have been a stray before it is deleted, such as V(90s), V(30m), V(1h) or V(2d).
      - A module remembers nothing, so this counts from what the cloud remembers, that is, the latest of when the NIC
        was made, when the NIC got its status, and when the instance was terminated. A NIC of which the cloud does not
        tell is not deleted.
      - A terminated instance can be recovered for two hours. Its agent makes new NICs then.
    type: str
    default: 1h
  gatewayns:
    description: The agents' setting of that name, which tells their gateway NICs.
    type: str
    default: hostnic
"""

EXAMPLES = r"""
- name: Look for NICs that nobody needs any more
  qingcloud.cni.hostnic_sweep:
    zone: pek3b
  delegate_to: localhost
  run_once: true
  register: strays

- name: Delete those that have been strays for a day
  qingcloud.cni.hostnic_sweep:
    state: absent
    grace: 1d
    zone: pek3b
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
strays:
  description: NICs whose instance is gone, as they were found.
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
      sample: available
    instance_id:
      description: The instance that it is attached to, or empty.
      type: str
    primary:
      description: Whether it is the primary NIC of its instance.
      type: bool
    created:
      description: When it was made, in seconds since 1970. 0 where that is not known.
      type: int
      sample: 1714550400
    owner:
      description: The instance whose agent made it.
      type: str
      sample: i-0a1b2c3d
    reason:
      description: Why it is a stray.
      type: str
      sample: i-0a1b2c3d is ceased
    since:
      description: Since when, in seconds since 1970. Null where the cloud does not tell.
      type: int
      sample: 1714550409
    deletable:
      description: Whether O(state=absent) deletes it, that is, it is not attached, and O(grace) is over.
      type: bool
deleted:
  description: Ids of the NICs that were deleted, or would be.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import access, packages
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, t.Any] = {
    **access.ARGUMENTS,
    **packages.ARGUMENTS,
    "state": {"choices": ["reported", "absent"], "default": "reported"},
    "grace": {"default": "1h"},
    "gatewayns": {"default": "hostnic"},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    packages.use(module)
    from ..module_utils._ansible import sweep

    run(module, lambda: sweep.sweep(module.params, access.connect(module.params), module.check_mode))


if __name__ == "__main__":
    main()
