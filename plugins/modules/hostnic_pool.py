#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the code is in module_utils/_ansible/pool.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_pool
short_description: Warm, trim, drain or empty a node's pool of NICs
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Orders something of the pool of NICs that the agent keeps on a node, and waits until it is so.
  - What a pod uses is never touched, unless O(state=absent) and O(force=true).
extends_documentation_fragment:
  - qingcloud.cni._pool
  - qingcloud.cni._packages
  - qingcloud.cni._attributes
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
      - V(warmed) has at least O(size) free NICs, kept for C(prewarm-ttl). Pods then use them up.
      - V(trimmed) gives back the ready NICs that neither pods nor C(pool-low) need, pre-warmed ones too.
      - V(drained) gives back all NICs that no pod uses, and gateway NICs once no pod needs them. No pod starts on the
        node until V(resumed), also after a restart of the agent or of the machine.
      - V(resumed) ends that.
      - V(absent) drains the node, and waits until nothing of it is left in the cloud. Fails while pods have NICs.
    type: str
    required: true
    choices: [warmed, trimmed, drained, resumed, absent]
  size:
    description: How many free NICs, for O(state=warmed). Ready ones, resting ones and those on their way count.
    type: int
  vxnet:
    description: The vxnet in which O(size) NICs are to be free. Without it those of all vxnets of the agent count.
    type: str
  force:
    description: With O(state=absent), takes NICs away from pods, which lose their network.
    type: bool
    default: false
  empty:
    description: With O(state=drained), waits for the NICs of pods as well. They go once the pods have ended.
    type: bool
    default: false
  wait:
    description: Wait until the pool is in that state. The agent goes on in any case; without an agent nobody would.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait. A NIC that a pod has just released rests for C(quarantine) before it can go.
    type: int
    default: 300
seealso:
  - module: qingcloud.cni.hostnic_pool_info
"""

EXAMPLES = r"""
- name: Have 20 NICs ready before a roll-out
  qingcloud.cni.hostnic_pool:
    state: warmed
    size: 20

- name: Drain the node
  qingcloud.cni.hostnic_pool:
    state: drained
  register: drained

- name: Show what is left and why
  ansible.builtin.debug:
    msg: "{{ item.nic_id }}: {{ item.why }}"
  loop: "{{ drained.left }}"

- name: Take the node back into use
  qingcloud.cni.hostnic_pool:
    state: resumed
"""

RETURN = r"""
via:
  description: Whether the running V(agent) was asked, or the module did the work itself with the V(journal).
  type: str
  returned: success
  sample: agent
plan:
  description: What is done first, and in check mode what would be.
  type: dict
  returned: success
  contains:
    actions:
      description: The steps of the plan that the order brings, each with its C(action) and what it concerns.
      type: list
      elements: dict
      sample: [{"action": "create", "vxnet_id": "vxnet-0a1b2c3", "count": 6, "purpose": "pool", "private_ips": []}]
    bounds:
      description: What bounds the pool.
      type: list
      elements: str
left:
  description: The NICs that the pool has then.
  type: list
  elements: dict
  returned: with O(state=drained) and O(state=absent)
  contains:
    nic_id:
      description: Its id, which is its MAC address.
      type: str
      sample: 52:54:9e:00:00:1a
    vxnet_id:
      description: Its vxnet.
      type: str
      sample: vxnet-0a1b2c3
    private_ip:
      description: Its address.
      type: str
      sample: 172.16.1.5
    purpose:
      description: V(pool) or V(gateway).
      type: str
    state:
      description: Where it is in its life.
      type: str
      sample: IN_USE
    why:
      description: Why it is there.
      type: str
      sample: used by default/web-0
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import packages, pool
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, t.Any] = {
    **pool.ARGUMENTS,
    **packages.ARGUMENTS,
    "state": {"required": True, "choices": list(pool.OPS)},
    "size": {"type": "int"},
    "vxnet": {"type": "str"},
    "force": {"type": "bool", "default": False},
    "empty": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 300},
}


def carry_out(module: AnsibleModule) -> dict[str, t.Any]:
    reached = pool.reach(module, works=not module.check_mode)
    try:
        return pool.order(reached, module.params, module.check_mode)
    finally:
        reached.close()


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS, required_if=[("state", "warmed", ["size"])], supports_check_mode=True
    )
    run(module, lambda: carry_out(module))


if __name__ == "__main__":
    main()
