#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the checks are in module_utils/_ansible/preflight.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_preflight
short_description: Check that a node can run the agent
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Checks the settings, the host's own link, the instance id, the access key, the zone and the vxnets, from the node
    and with the code that the agent will use. Fails with all problems at once, each a sentence that says what to do.
  - Warns of what on the host makes services fail for its pods, that is, chains that drop forwarded packets by policy
    and a strict source check (C(rp_filter)) of the host's own link.
  - Changes nothing, on the node or in the cloud.
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
  - Python 3.9 or later and systemd 247 or later on the node.
options:
  settings:
    description: The agent's settings, by the keys of its configuration file.
    type: dict
    default: {}
  access:
    description:
      - Content of the access file that is about to be written, without the access key.
      - Without this and O(access_key_id) the file that C(QYAccessFilePath) names is read on the node.
    type: dict
  access_key_id:
    description: Access key that is about to be written.
    type: str
  secret_access_key:
    description: Its secret.
    type: str
  instance_id_path:
    description: File on the node that holds the id of its instance.
    type: path
    default: /etc/qingcloud/instance-id
  deps_path:
    description:
      - Directory on the node with third-party packages, as returned by M(qingcloud.cni.hostnic_install).
      - Where it does not exist, which happens in check mode only, the cloud is not asked.
    type: path
  problems:
    description: Sentences of the caller, told and counted with those that are found here.
    type: list
    elements: str
    default: []
  warnings:
    description: Warnings of the caller, told with those that are found here.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Lay the package down without activating it
  qingcloud.cni.hostnic_install:
    state: staged
  register: staged

- name: Check that this node can run the agent
  qingcloud.cni.hostnic_preflight:
    settings:
      vxnet: [vxnet-0a1b2c3d]
      zone: pek3a
    deps_path: "{{ staged.deps_path }}"
"""

RETURN = r"""
problems:
  description: What stops the roll-out. The module failed if there is any.
  type: list
  elements: str
  returned: always
unchecked:
  description: What could not be looked at. It is told as a warning, too.
  type: list
  elements: str
  returned: always
instance_id:
  description: The instance that this node says it is.
  type: str
  returned: always
  sample: i-0a1b2c3d
zone:
  description: The zone that the cloud was asked in.
  type: str
  returned: when the cloud was asked
  sample: pek3a
"""

import sys
import typing as t
from dataclasses import replace
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible.host import check_host, systemctl_of
from ..module_utils.hostnic.errors import HostnicError

if t.TYPE_CHECKING:
    from ..module_utils._ansible.preflight import Report
    from ..module_utils.hostnic.config import Settings

# Seconds for repeated calls: someone waits, and an API that does not answer now is what they want to hear of.
PATIENCE = 8.0

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "settings": {"type": "dict", "default": {}},
    "access": {"type": "dict"},
    "access_key_id": {"no_log": True},
    "secret_access_key": {"no_log": True},
    "instance_id_path": {"type": "path", "default": "/etc/qingcloud/instance-id"},
    "deps_path": {"type": "path"},
    "problems": {"type": "list", "elements": "str", "default": []},
    "warnings": {"type": "list", "elements": "str", "default": []},
}


def overrides(module: AnsibleModule) -> t.Optional[dict[str, t.Any]]:
    """What the access file will hold; None where the one on the node stays."""
    wanted = module.params
    if wanted["access"] is None and wanted["access_key_id"] is None:
        return None
    key = {"qy_access_key_id": wanted["access_key_id"], "qy_secret_access_key": wanted["secret_access_key"]}
    return {**(wanted["access"] or {}), **key}


def examine(module: AnsibleModule) -> dict[str, t.Any]:
    """All checks, as the module's result. The package is imported here, when its dependencies can be found."""
    deps = module.params["deps_path"]
    if deps:
        sys.path.insert(0, deps)
    from ..module_utils._ansible import preflight
    from ..module_utils.hostnic import config

    report = preflight.Report(list(module.params["problems"]), list(module.params["warnings"]))
    host = preflight.Host()
    result: dict[str, t.Any] = {"changed": False, "problems": report.problems, "unchecked": report.unchecked}
    loaded = report.attempt(lambda: preflight.load_settings(module.params["settings"]))
    result["instance_id"] = report.attempt(lambda: config.instance_id(module.params["instance_id_path"]))
    if loaded is None:
        return result
    settings, origins = loaded
    preflight.check_iface(settings.iface, host, report)
    preflight.check_network(settings.iface, module.get_bin_path("nft"), report)
    if deps and Path(deps).is_dir():
        ask_cloud(module, settings, origins, result, report)
    else:
        report.unchecked.append(
            "access key, zone, instance and vxnets: the cloud is asked with packages that check mode does not lay down"
        )
    for warning in [*report.warnings, *(f"not checked: {item}" for item in report.unchecked)]:
        module.warn(warning)
    return result


def ask_cloud(
    module: AnsibleModule, settings: Settings, origins: dict[str, str], result: dict[str, t.Any], report: Report
) -> None:
    """With the access file that is there or is about to be written."""
    from ..module_utils._ansible import preflight
    from ..module_utils.hostnic.cloud import build, credentials

    given = overrides(module)
    path = settings.access_file if given is None else f"{settings.access_file} (to be written)"
    access = report.attempt(lambda: credentials.read_access(path, given))
    if access is not None and result["instance_id"]:
        result["zone"] = build.zone_of(settings, access, origins)
        cloud = build.connect(replace(settings, access_file=path), origins=origins, overrides=given, patience=PATIENCE)
        preflight.check_cloud(cloud, result["instance_id"], result["zone"], settings.vxnet, preflight.Host(), report)


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)

    try:
        check_host(systemctl_of(module))
        result = examine(module)
    except HostnicError as error:
        module.fail_json(msg=error.message, problems=[error.message], unchecked=[], instance_id=None)
    if result["problems"]:
        module.fail_json(msg="\n".join(result["problems"]), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
