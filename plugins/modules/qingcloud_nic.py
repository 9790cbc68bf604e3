#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the use case is in module_utils/_ansible/nics.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: qingcloud_nic
short_description: Make, attach, detach and delete NICs
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Brings NICs of the cloud into a state. They are named by their ids in O(nics), or there are to be at least O(count)
    of one name.
  - On a node it works for that node without being told which instance it is, so that one call for all nodes attaches
    NICs to each before pods come. NICs are called as the agent calls those of its pool. An agent that is installed
    later takes them over and keeps them for its C(prewarm-ttl). An agent that runs already is asked for them.
  - From the control host it works for the instance that O(instance) names.
  - NICs that pods use, primary NICs and NICs that bear another name are left alone.
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
    support: partial
    details:
      - O(state=absent) with O(count) takes so many away each time, since nothing tells how many are gone already. A
        task that may be repeated names them in O(nics) or in O(private_ips), or leaves O(count) out.
options:
  state:
    description:
      - V(present) means that the NICs are there, attached or not. Missing ones are made in O(vxnet).
      - V(attached) means that they are attached to the instance. Free ones are attached first, then more are made.
      - V(detached) means that they are there and free. None are made.
      - V(absent) means that they are not there. By O(count), free ones go first, the newest before the others.
      - Where an agent runs, V(present) and V(attached) ask it for free NICs, V(absent) gives pre-warmed ones back, and
        V(detached) is refused for NICs of its pool, which it would attach again.
    type: str
    choices: [present, attached, detached, absent]
    default: present
  nics:
    description: Ids of NICs. An id is the NIC's MAC address.
    type: list
    elements: str
  nic_name:
    description:
      - Name of the NICs that are counted and made.
      - By default the name of the pool of the instance, C(qingcni_) and the instance's id.
    type: str
  count:
    description:
      - At least so many of them should be in the state, without those that a pod uses. With O(state=absent) so many
        free ones are taken away, each time.
      - Only the node itself knows which NICs its pods use. From elsewhere, attached NICs are counted, and never
        detached.
      - By default one is to be V(present) or V(attached), and all are to be V(detached) or V(absent).
    type: int
  vxnet:
    description: Vxnet of the NICs. Needed where NICs have to be made.
    type: str
  private_ips:
    description: Addresses of the NICs, one each, instead of O(count).
    type: list
    elements: str
  instance:
    description:
      - Id of the instance.
      - By default it is read from O(instance_id_path), and believed if the instance's primary NIC is a link of the
        machine.
    type: str
  force:
    description: Also change primary NICs, NICs of other names, and NICs that a pod may use. Only those in O(nics).
    type: bool
    default: false
  wait:
    description: Wait until the cloud shows the NICs in their state.
    type: bool
    default: true
  wait_timeout:
    description: Seconds until the module gives up.
    type: int
    default: 300
  gatewayns:
    description: The agent's setting of that name, which tells its gateway NICs.
    type: str
    default: hostnic
  instance_id_path:
    description: File on the machine that holds the id of its instance.
    type: path
    default: /etc/qingcloud/instance-id
  socket:
    description: Where the agent listens.
    type: path
    default: /run/qingagent/qingagent.sock
"""

EXAMPLES = r"""
- name: Attach ten NICs to each node before pods come
  qingcloud.cni.qingcloud_nic:
    state: attached
    vxnet: vxnet-0a1b2c3
    count: 10

- name: Make a NIC with an address for an instance, from the control host
  qingcloud.cni.qingcloud_nic:
    state: attached
    instance: i-0a1b2c3d
    vxnet: vxnet-0a1b2c3
    nic_name: reserved
    private_ips: [172.16.1.9]
  delegate_to: localhost

- name: Delete NICs by their ids
  qingcloud.cni.qingcloud_nic:
    state: absent
    nics: ["52:54:00:aa:bb:01"]
"""

RETURN = r"""
nics:
  description: The NICs that are in the state. In check mode, new ones have no id and no address yet.
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
actions:
  description: What was done, or would be, in order.
  type: list
  elements: dict
  returned: success
  sample: [{action: create, count: 2, name: qingcni_i-0a1b2c3d, vxnet: vxnet-0a1b2c3}]
left:
  description: NICs that were left alone because nobody here knows whether a pod uses them.
  type: list
  elements: str
  returned: success
instance:
  description: The instance that this was about. Empty where none was meant.
  type: str
  returned: success
  sample: i-0a1b2c3d
asked:
  description: V(agent) where a running agent did it, else V(cloud).
  type: str
  returned: success
code:
  description: What kind of failure it is.
  type: str
  returned: failure
  sample: QuotaExceeded
action:
  description: The API's action that failed.
  type: str
  returned: when the API refused
  sample: AttachNics
ret_code:
  description: The API's code.
  type: int
  returned: when the API refused
  sample: 1400
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import access, packages
from ..module_utils._ansible.module import run
from ..module_utils.hostnic.wire import SOCKET

ARGUMENTS: dict[str, t.Any] = {
    **access.ARGUMENTS,
    **packages.ARGUMENTS,
    "state": {"choices": ["present", "attached", "detached", "absent"], "default": "present"},
    "nics": {"type": "list", "elements": "str"},
    "nic_name": {},
    "count": {"type": "int"},
    "vxnet": {},
    "private_ips": {"type": "list", "elements": "str"},
    "instance": {},
    "force": {"type": "bool", "default": False},
    "wait": {"type": "bool", "default": True},
    "wait_timeout": {"type": "int", "default": 300},
    "gatewayns": {"default": "hostnic"},
    "instance_id_path": {"type": "path", "default": "/etc/qingcloud/instance-id"},
    "socket": {"type": "path", "default": SOCKET},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    packages.use(module)
    from ..module_utils._ansible import nics

    run(module, lambda: nics.manage(module.params, access.connect(module.params), module.check_mode))


if __name__ == "__main__":
    main()
