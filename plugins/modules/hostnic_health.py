#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the looking is done in module_utils/_ansible/health.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_health
short_description: Wait until a node's agent works and has all that it had
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Asks the running agent which version it is, for its NICs and for its leases, and asks the CNI plugin for C(VERSION)
    and C(STATUS) as a container runtime would.
  - With an earlier result in O(before), a NIC or a lease that is lost is a problem; what pods that started or ended
    meanwhile have changed is none.
  - Fails with all problems at once where they do not pass within O(timeout). Changes nothing.
extends_documentation_fragment:
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  digest:
    description: The version that has to be running, as M(qingcloud.cni.hostnic_install) returns it.
    type: str
  before:
    description: The result of an earlier run of this module on this node.
    type: dict
  plugins:
    description: The executables of the CNI plugin that are asked.
    type: list
    elements: path
    default: [/opt/cni/bin/qingcni]
  timeout:
    description: How many seconds to wait for a problem to pass.
    type: int
    default: 30
  steady:
    description: For how many seconds one and the same process has to have been well.
    type: int
    default: 0
  socket:
    description: Where the agent listens.
    type: path
    default: /run/qingagent/qingagent.sock
"""

EXAMPLES = r"""
- name: Look at the agent before something is done to it
  qingcloud.cni.hostnic_health:
  register: before

- name: Restart it
  ansible.builtin.systemd_service:
    name: qingagent.service
    state: restarted

- name: Wait until it has everything again
  qingcloud.cni.hostnic_health:
    before: "{{ before }}"
    steady: 3
"""

RETURN = r"""
problems:
  description: Sentences. The module failed if there are any.
  type: list
  elements: str
  returned: always
version:
  description: What the running agent says of itself. Empty for one that is too old to tell.
  type: dict
  returned: always
  contains:
    version:
      description: The version of the collection that it came from.
      type: str
      sample: 0.1.0
    digest:
      description: The version that M(qingcloud.cni.hostnic_install) has laid down.
      type: str
      sample: 3f2a90cc15b7de08
    python:
      description: The interpreter that runs it.
      type: str
      sample: /usr/bin/python3.11
    journal_schema:
      description: The schema of its journal.
      type: int
      sample: 2
    protocol:
      description: The newest protocol that it speaks with the CNI plugin. It speaks the one before as well.
      type: int
      sample: 1
    pid:
      description: Its process.
      type: int
      sample: 1234
pool:
  description: Its NICs, as C(qingagent pool) shows them.
  type: list
  elements: dict
  returned: always
leases:
  description: Which pod has which NIC, as C(qingagent leases) shows it.
  type: list
  elements: dict
  returned: always
"""

import time
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import command, health
from ..module_utils.hostnic.wire import SOCKET

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "digest": {},
    "before": {"type": "dict"},
    "plugins": {"type": "list", "elements": "path", "default": ["/opt/cni/bin/qingcni"]},
    "timeout": {"type": "int", "default": 30},
    "steady": {"type": "int", "default": 0},
    "socket": {"type": "path", "default": SOCKET},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    before = wanted["before"]
    if before is not None and not {"pool", "leases"} <= before.keys():
        module.fail_json(msg="before: give the whole result of an earlier run of this module")

    def check() -> health.Health:
        return health.look(wanted["socket"], wanted["plugins"], command.run, wanted["digest"], before)

    found = health.settle(check, wanted["timeout"], wanted["steady"], time.monotonic, time.sleep)
    if found.problems:
        module.fail_json(msg="; ".join(found.problems), **asdict(found))
    module.exit_json(changed=False, **asdict(found))


if __name__ == "__main__":
    main()
