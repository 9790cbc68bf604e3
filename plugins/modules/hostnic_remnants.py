#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the work is done in module_utils/_ansible/remnants.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_remnants
short_description: Remove what a stopped agent has left on its node
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Removes what M(qingcloud.cni.hostnic_install) does not know. That is the nftables table, the rule of symmetric
    replies, the namespace in which ready NICs wait, files that keep network managers off pods' NICs, links to the
    plugin, configuration, journal and socket, and the access file where the role wrote it.
  - Removes nothing that somebody else has made, and no NIC. A namespace that still holds NICs stays.
  - Run M(qingcloud.cni.hostnic_pool) with V(state=absent) before, while the journal is there.
extends_documentation_fragment:
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  statedir:
    description: Directory of the agent's journal.
    type: path
    default: /var/lib/qingagent
  rundir:
    description: Directory of its socket.
    type: path
    default: /run/qingagent
  access_file:
    description: The access file. It stays unless the role has written it.
    type: path
    default: /etc/qingcloud/client.yaml
  bin_dirs:
    description: Directories of plugins, where links to this one may be.
    type: list
    elements: path
    default: []
  conf_dirs:
    description: Directories of CNI configurations. One that names the plugin still is told in RV(leftovers).
    type: list
    elements: path
    default: []
"""

EXAMPLES = r"""
- name: Remove what the agent has left
  qingcloud.cni.hostnic_remnants:
    bin_dirs: [/usr/lib/cni]
    conf_dirs: [/etc/cni/net.d]
  register: remnants

- name: Show what is still there
  ansible.builtin.debug:
    var: remnants.leftovers
"""

RETURN = r"""
found:
  description: What was there.
  type: list
  elements: str
  returned: success
  sample: [nftables table ip qingcni]
leftovers:
  description: A sentence for each thing that stays, and why.
  type: list
  elements: str
  returned: success
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import command, remnants
from ..module_utils._ansible.module import run

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "statedir": {"type": "path", "default": "/var/lib/qingagent"},
    "rundir": {"type": "path", "default": "/run/qingagent"},
    "access_file": {"type": "path", "default": "/etc/qingcloud/client.yaml"},
    "bin_dirs": {"type": "list", "elements": "path", "default": []},
    "conf_dirs": {"type": "list", "elements": "path", "default": []},
}


def clear(module: AnsibleModule) -> dict[str, t.Any]:
    """The module's result."""
    places = remnants.Places(**{name: module.params[name] for name in ARGUMENTS})
    done = remnants.clear(remnants.things(places, command.run), module.check_mode)
    leftovers = [*done.leftovers, *remnants.strays(command.run, places)]
    return {
        "changed": len(done.found) > len(done.leftovers),
        "found": done.found,
        "leftovers": leftovers,
        "diff": {
            "before": "".join(f"{name}\n" for name in done.found),
            "after": "".join(f"{sentence}\n" for sentence in done.leftovers),
        },
    }


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    run(module, lambda: clear(module))


if __name__ == "__main__":
    main()
