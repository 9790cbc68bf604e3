#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the work is done in module_utils/_ansible/trial.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_trial_pod
short_description: Try a pod's network without a container runtime
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Makes a network namespace and has the installed CNI plugin give it a NIC (C(ADD)), as a container runtime does,
    pings other addresses from there, and gives the NIC back (C(DEL)).
  - What was left by a run that was killed is taken over by the next one.
extends_documentation_fragment:
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
requirements:
  - C(ip) on the node.
options:
  state:
    description: Whether there is such a pod.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the namespace, and id of the container.
    type: str
    default: verify-pod
  conf:
    description: The CNI configuration, as it lies in the runtime's directory.
    type: path
    default: /etc/cni/net.d/05-qingcloud.conflist
  plugin:
    description: The executable of the CNI plugin.
    type: path
    default: /opt/cni/bin/qingcni
  peers:
    description: Addresses that are pinged from the pod, all at once.
    type: list
    elements: str
    default: []
  count:
    description: How many times each is pinged.
    type: int
    default: 3
"""

EXAMPLES = r"""
- name: Try a pod on each node
  qingcloud.cni.hostnic_trial_pod:
  register: pod

- name: Ping the others
  qingcloud.cni.hostnic_trial_pod:
    peers: "{{ ansible_play_hosts | map('extract', hostvars, ['pod', 'address']) }}"

- name: End it
  qingcloud.cni.hostnic_trial_pod:
    state: absent
"""

RETURN = r"""
address:
  description: The pod's address.
  type: str
  returned: O(state=present), not in check mode
  sample: 172.16.1.7
mac:
  description: The MAC of its NIC, which is the NIC's id.
  type: str
  returned: O(state=present), not in check mode
  sample: 52:54:9e:00:11:22
round_trips:
  description: Address of each of O(peers), and the average round trip in milliseconds. Null where no answer came.
  type: dict
  returned: O(state=present), not in check mode
  sample: {172.16.1.8: 0.21}
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import command
from ..module_utils._ansible.module import run
from ..module_utils._ansible.trial import TrialPod, configuration

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state": {"choices": ["present", "absent"], "default": "present"},
    "name": {"default": "verify-pod"},
    "conf": {"type": "path", "default": "/etc/cni/net.d/05-qingcloud.conflist"},
    "plugin": {"type": "path", "default": "/opt/cni/bin/qingcni"},
    "peers": {"type": "list", "elements": "str", "default": []},
    "count": {"type": "int", "default": 3},
}


def use(module: AnsibleModule) -> dict[str, t.Any]:
    """The module's result."""
    wanted = module.params
    pod = TrialPod(wanted["name"], wanted["plugin"], configuration(Path(wanted["conf"])), command.run)
    there = pod.stands()
    present = wanted["state"] == "present"
    result: dict[str, t.Any] = {"changed": there != present}
    if module.check_mode:
        return result
    if not present:
        pod.end()
        return result
    started = pod.start()
    trips = pod.ping(wanted["peers"], wanted["count"]) if wanted["peers"] else {}
    return {**result, **started, "round_trips": {address: trip and round(trip, 3) for address, trip in trips.items()}}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run(module, lambda: use(module))


if __name__ == "__main__":
    main()
