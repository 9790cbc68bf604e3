#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the asking is done in module_utils/_ansible/report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_report_info
short_description: Tell all that a node knows, for a report
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Asks the agent of a node for its version, NICs, leases, plan and status, and C(qingagent doctor) for what is wrong
    with the host, in one go.
  - Where no agent answers, the NICs are those of its journal. What could not be asked is told in RV(answers), and the
    module does not fail.
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
  socket:
    description: Where the agent listens.
    type: path
    default: /run/qingagent/qingagent.sock
  statedir:
    description: Directory of its journal.
    type: path
    default: /var/lib/qingagent
  instance_id_path:
    description: File on the node that holds the id of its instance.
    type: path
    default: /etc/qingcloud/instance-id
  doctor:
    description: Whether the doctor is asked. It takes some seconds, and calls the cloud's API about five times.
    type: bool
    default: true
seealso:
  - module: qingcloud.cni.hostnic_report
"""

EXAMPLES = r"""
- name: Ask the node for everything
  qingcloud.cni.hostnic_report_info:
  register: node
"""

RETURN = r"""
answers:
  description:
    - A JSON document, as text. One of structure, from each of hundreds of nodes, would take Ansible longer than all the
      rest. M(qingcloud.cni.hostnic_report) reads it, and C(from_json) does.
    - C(via) is V(agent) or V(journal), or empty where nobody has told of NICs. C(nics) and C(leases) are told then.
    - C(version), C(plan) and C(status) are the agent's answers, C(doctor) is the doctor's.
    - C(instance_id), C(installed) and C(now) are the node's instance, the package that is laid down, and its clock.
    - C(unasked) tells why there is no answer, for each question without one.
  type: str
  returned: success
  sample: '{"via": "agent", "nics": [], "leases": [], "unasked": {}}'
"""

import json
import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import command, report
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "socket": {"type": "path", "default": "/run/qingagent/qingagent.sock"},
    "statedir": {"type": "path", "default": "/var/lib/qingagent"},
    "instance_id_path": {"type": "path", "default": "/etc/qingcloud/instance-id"},
    "doctor": {"type": "bool", "default": True},
}


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    wanted = module.params
    places = report.Places(wanted["socket"], wanted["statedir"], wanted["instance_id_path"])
    run(module, lambda: {"changed": False, "answers": json.dumps(report.tell(places, command.run, wanted["doctor"]))})


if __name__ == "__main__":
    main()
