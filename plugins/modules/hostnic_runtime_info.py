#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the reading is done in module_utils/hostnic/runtimes.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_runtime_info
short_description: Tell where a node's container runtimes look for CNI plugins and configuration
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Reads the configuration of containerd, of CRI-O and of Mesos' agent. Where none is there, the usual directories are
    told.
  - Lists the CNI configurations that lie there, by whether they come before one of the given name. Runtimes take the
    file whose name sorts first. Mesos takes every file, as the configuration of one plugin, and a container names the
    network that it wants.
  - Tells how the node's kubelet takes settings beside those that it has.
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
  mesos_bin_dirs:
    description: Directories of plugins of Mesos' agent (C(--network_cni_plugins_dir)), where its own files do not tell.
      Goes together with O(mesos_conf_dir).
    type: list
    elements: path
  mesos_conf_dir:
    description: Directory of configurations of Mesos' agent (C(--network_cni_config_dir)).
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
      description: V(containerd), V(cri-o), V(mesos), V(fixed) where directories were given, or V(none).
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
    lists:
      description: Whether it reads lists of plugins. Mesos does not.
      type: bool
bin_dirs:
  description: The first directory of plugins of each runtime.
  type: list
  elements: str
  returned: success
  sample: [/usr/lib/cni]
conf_dirs:
  description: The directory of configurations of each runtime that reads lists of plugins.
  type: list
  elements: str
  returned: success
  sample: [/etc/cni/net.d]
single_conf_dirs:
  description: The directory of configurations of each runtime that does not.
  type: list
  elements: str
  returned: success
  sample: [/etc/mesos-cni]
shared:
  description: Directories that are in both of them, where neither kind of runtime could read what is for the other.
  type: list
  elements: str
  returned: success
kubelet:
  description: How the node's kubelet takes a setting.
  type: dict
  returned: where there is a kubelet
  contains:
    kind:
      description: V(config-dir) (its drop-in directory), V(unit) (a drop-in of its unit), V(k3s) or V(rke2).
      type: str
    path:
      description: The file for a setting of ours.
      type: str
      sample: /etc/systemd/system/kubelet.service.d/90-qingcloud-cni.conf
    unit:
      description: The unit to restart.
      type: str
      sample: kubelet.service
    taken:
      description: The file whose C(KUBELET_EXTRA_ARGS) would win over those of a V(unit).
      type: str
missing:
  description: Those of RV(bin_dirs), RV(conf_dirs) and RV(single_conf_dirs) that do not exist yet.
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

from ..module_utils._ansible import kubelets
from ..module_utils.hostnic import runtimes

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "conf_name": {"default": "05-qingcloud.conflist"},
    "bin_dirs": {"type": "list", "elements": "path"},
    "conf_dir": {"type": "path"},
    "mesos_bin_dirs": {"type": "list", "elements": "path"},
    "mesos_conf_dir": {"type": "path"},
}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS,
        supports_check_mode=True,
        required_together=[("bin_dirs", "conf_dir"), ("mesos_bin_dirs", "mesos_conf_dir")],
    )

    def output(command: t.Sequence[str]) -> t.Optional[str]:
        path = module.get_bin_path(command[0])
        if path is None:
            return None
        status, text, __ = module.run_command([path, *command[1:]])
        return text if status == 0 else None

    wanted = module.params
    fixed = runtimes.Runtime("fixed", tuple(wanted["bin_dirs"]), wanted["conf_dir"]) if wanted["conf_dir"] else None
    mesos = (
        runtimes.Runtime("mesos", tuple(wanted["mesos_bin_dirs"]), wanted["mesos_conf_dir"], lists=False)
        if wanted["mesos_conf_dir"]
        else None
    )
    found = runtimes.find(wanted["conf_name"], output, fixed=fixed, mesos=mesos)
    bin_dirs = list(dict.fromkeys(runtime.bin_dirs[0] for runtime in found.runtimes))
    conf_dirs, single = (
        list(dict.fromkeys(runtime.conf_dir for runtime in found.runtimes if runtime.lists is lists))
        for lists in (True, False)
    )
    kubelet = kubelets.find()
    module.exit_json(
        changed=False,
        runtimes=[asdict(runtime) for runtime in found.runtimes],
        bin_dirs=bin_dirs,
        conf_dirs=conf_dirs,
        single_conf_dirs=single,
        shared=found.shared,
        missing=[path for path in [*bin_dirs, *conf_dirs, *single] if not Path(path).is_dir()],
        rivals=found.rivals,
        others=found.others,
        plugins=found.plugins,
        **({"kubelet": asdict(kubelet)} if kubelet else {}),
    )


if __name__ == "__main__":
    main()
