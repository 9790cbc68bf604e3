#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the use case is in module_utils/_ansible/laying.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_files
short_description: Write several small files and links on a node in one round trip
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Writes the files that the roles lay on a node, all of them in one round trip. M(ansible.builtin.copy) needs five for
    each file, also where nothing changes, which is what most of a repeated roll-out would cost.
  - Each file belongs to the user that the module runs as, and is replaced by one rename.
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
  files:
    description: The files, in the order in which they are written.
    type: list
    elements: dict
    required: true
    suboptions:
      path:
        description: Where it goes. Must be absolute.
        type: path
        required: true
      content:
        description: What it holds.
        type: str
      secret:
        description: What it holds, where that is to be shown nowhere.
        type: str
      link:
        description: Where it points. Give this, O(files[].content) or O(files[].secret).
        type: str
      mode:
        description: Its mode, in octal.
        type: str
        default: "0644"
      directory_mode:
        description: The mode of its directory, in octal, where that has to be made. Without this the file is written
          only where its directory is there.
        type: str
      notice:
        description: Write it once more, at its own length, whether it changed or not. containerd overlooks a file that
          was renamed into place, and an earlier run may have been cut off in between.
        type: bool
        default: false
"""

EXAMPLES = r"""
- name: Write two files
  qingcloud.cni.hostnic_files:
    files:
      - path: /etc/qingagent/QingAgent.yaml
        content: "vxnet: [vxnet-0a1b2c3]\n"
        mode: "0600"
        directory_mode: "0700"
      - path: /etc/cloud/cloud.cfg.d/99-network.cfg
        content: "updates: {network: {when: [boot]}}\n"
"""

RETURN = r"""
written:
  description: Paths of the files that were written, or would be.
  type: list
  elements: str
  returned: success
  sample: [/etc/qingagent/QingAgent.yaml]
left_out:
  description: Paths of those whose directory is not there.
  type: list
  elements: str
  returned: success
  sample: [/etc/cloud/cloud.cfg.d/99-network.cfg]
"""

import typing as t

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import laying
from ..module_utils._ansible.module import run
from ..module_utils.hostnic.errors import HostnicError

FILE: dict[str, dict[str, t.Any]] = {
    "path": {"type": "path", "required": True},
    "content": {},
    "secret": {"no_log": True},
    "link": {},
    "mode": {"default": "0644"},
    "directory_mode": {},
    "notice": {"type": "bool", "default": False},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "files": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": FILE,
                "mutually_exclusive": [("content", "secret", "link")],
                "required_one_of": [("content", "secret", "link")],
            }
        },
        supports_check_mode=True,
    )

    def use_case() -> dict[str, t.Any]:
        try:
            return laying.lay([laying.Wanted.from_option(file) for file in module.params["files"]], module.check_mode)
        except OSError as error:
            raise HostnicError(f"the node's file system refused: {error}") from error

    run(module, use_case)


if __name__ == "__main__":
    main()
