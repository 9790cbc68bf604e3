#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Documentation; all of it happens on the control host, in plugins/action/hostnic_report.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_report
short_description: Write a page that shows the NICs of a fleet
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Writes one HTML document on the control host. It shows what is wrong first, then each node's NICs as a picture,
    the addresses of vxnets, NICs of dead instances, and which package each node runs. It needs nothing besides, and
    loads nothing.
  - What could not be asked is shown as unknown. Of the answers only what is documented below is shown, all of it as
    text.
extends_documentation_fragment:
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
    description:
      - The page is written each time, since it says when it was made. It counts as changed where it says anything else
        than before.
options:
  path:
    description: Where the page is written on the control host. Its directory has to be there.
    type: path
    required: true
  mode:
    description: Permissions of the page, which names pods and addresses.
    type: str
    default: "0600"
  nodes:
    description:
      - The result of M(qingcloud.cni.hostnic_report_info) for each node, by the node's name. Ansible's own result of a
        node that could not be reached will do.
    type: dict
    required: true
  vxnets:
    description: The result of M(qingcloud.cni.qingcloud_vxnet_info), also of one that failed.
    type: dict
    default: {}
  configured:
    description: Ids of vxnets that are shown although no node has a NIC in them.
    type: list
    elements: str
    default: []
  sweep:
    description: The result of M(qingcloud.cni.hostnic_sweep), also of one that failed.
    type: dict
    default: {}
seealso:
  - module: qingcloud.cni.hostnic_report_info
"""

EXAMPLES = r"""
- name: Ask the nodes
  qingcloud.cni.hostnic_report_info:
  register: node
  ignore_unreachable: true

- name: Write the page
  qingcloud.cni.hostnic_report:
    path: /srv/www/qingcloud.html
    mode: "0644"
    nodes: "{{ dict(ansible_play_hosts_all | zip(ansible_play_hosts_all | map('extract', hostvars, 'node'))) }}"
  run_once: true
"""

RETURN = r"""
path:
  description: Where the page is, or would be.
  type: str
  returned: success
size:
  description: Its size in bytes.
  type: int
  returned: success
verdict:
  description: What the page says first.
  type: str
  returned: success
  sample: 1 error and 2 warnings, on 3 of 40 nodes.
problems:
  description: What is wrong, the worst first.
  type: list
  elements: dict
  returned: success
  sample: [{"severity": "warning", "what": "Drained, no pod starts here", "remedy": "", "nodes": ["node7"]}]
"""
