#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the reading is done in module_utils/_ansible/runtimes.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_runtime_info
short_description: Tell where a node's container runtimes look for CNI plugins and configuration
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Reads the configuration of containerd and CRI-O. Where neither is there, the usual directories are told.
  - Lists the CNI configurations that lie there, by whether they come before one of the given name. Runtimes take the
    file whose name sorts first.
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
  conf_name:
    description: Name of the CNI configuration that others are compared with.
    type: str
    default: 05-qingcloud.conflist
  bin_dirs:
    description: Directories of plugins, instead of the runtimes' own. Goes together with O(conf_dir).
    type: list
    elements: path
  conf_dir:
    description: Directory of configurations, instead of the runtimes' own. Goes together with O(bin_dirs).
    type: path
"""

EXAMPLES = r"""
- name: Ask where CNI configurations go on this node
  qingcloud.cni.hostnic_runtime_info:
  register: runtime
"""

RETURN = r"""
runtimes:
  description: The container runtimes that were found.
  type: list
  elements: dict
  returned: success
  contains:
    name:
      description: V(containerd), V(cri-o), V(fixed) where directories were given, or V(none).
      type: str
      sample: containerd
    bin_dirs:
      description: Directories of plugins, in the order of the search.
      type: list
      elements: str
      sample: [/usr/lib/cni]
    conf_dir:
      description: Directory of configurations.
      type: str
      sample: /etc/cni/net.d
bin_dirs:
  description: The first directory of plugins of each runtime.
  type: list
  elements: str
  returned: success
  sample: [/usr/lib/cni]
conf_dirs:
  description: The directory of configurations of each runtime.
  type: list
  elements: str
  returned: success
  sample: [/etc/cni/net.d]
missing:
  description: Those of RV(bin_dirs) and RV(conf_dirs) that do not exist yet.
  type: list
  elements: str
  returned: success
rivals:
  description: Configurations that sort before O(conf_name), so that runtimes would use them.
  type: list
  elements: str
  returned: success
others:
  description: Configurations that sort after it.
  type: list
  elements: str
  returned: success
  sample: [/etc/cni/net.d/87-podman-bridge.conflist]
plugins:
  description: Names of plugins that all runtimes find.
  type: list
  elements: str
  returned: success
  sample: [loopback, portmap]
"""

import typing as t
from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import runtimes

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "conf_name": {"default": "05-qingcloud.conflist"},
    "bin_dirs": {"type": "list", "elements": "path"},
    "conf_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_together=[("bin_dirs", "conf_dir")]
    )

    def output(command: t.Sequence[str]) -> t.Optional[str]:
        path = module.get_bin_path(command[0])
        if path is None:
            return None
        status, text, _ = module.run_command([path, *command[1:]])
        return text if status == 0 else None

    wanted = module.params
    fixed = runtimes.Runtime("fixed", tuple(wanted["bin_dirs"]), wanted["conf_dir"]) if wanted["conf_dir"] else None
    found = runtimes.find(wanted["conf_name"], output, fixed=fixed)
    bin_dirs = list(dict.fromkeys(runtime.bin_dirs[0] for runtime in found.runtimes))
    conf_dirs = list(dict.fromkeys(runtime.conf_dir for runtime in found.runtimes))
    module.exit_json(
        changed=False,
        runtimes=[asdict(runtime) for runtime in found.runtimes],
        bin_dirs=bin_dirs,
        conf_dirs=conf_dirs,
        missing=[path for path in [*bin_dirs, *conf_dirs] if not Path(path).is_dir()],
        rivals=found.rivals,
        others=found.others,
        plugins=found.plugins,
    )


if __name__ == "__main__":
    main()
