#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the use case is in module_utils/_ansible/install.py."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_install
short_description: Install the agent and the CNI plugin on a node
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Lays down the agent's package, the CNI plugin, third-party packages and systemd units beside what is there, then
    activates package, plugin and third-party packages by renaming one symbolic link, and the units that belong to them
    with it. The version before stays for O(state=rolled_back).
  - Needs neither pip nor a virtual environment on the node. Third-party packages are fetched by the control host for
    the node's Python and machine, checked against the hashes of C(files/requirements.lock) there and once more on the
    node, and sent in one archive. A node that has them is served in one round trip.
  - Starts nothing and stops nothing. Restart C(qingagent.service) to have it run another version.
extends_documentation_fragment:
  - qingcloud.cni._attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(state=rolled_back) without O(digest) goes back and forth between two versions.
requirements:
  - Python 3.9 or later and systemd 247 or later on the node.
  - pip on the control host, unless O(wheelhouse) is given.
options:
  state:
    description:
      - V(present) lays this collection's version down and activates it.
      - V(staged) lays it down only. No link, launcher or unit changes.
      - V(rolled_back) activates the version that was active before, or the one named by O(digest).
      - V(pruned) removes what is laid down but neither active, nor the one before, nor run by a process.
      - V(absent) removes everything. The agent must be stopped.
    type: str
    choices: [present, staged, rolled_back, pruned, absent]
    default: present
  digest:
    description: The version to go back to, for O(state=rolled_back).
    type: str
  keep:
    description:
      - How many versions to keep besides the active one and the one before it.
      - A version that a process runs is kept in any case.
    type: int
    default: 0
  wheelhouse:
    description:
      - Directory on the control host with the wheels and source distributions of C(files/requirements.lock).
      - Where it is given, no package index is asked, so that it serves control hosts without a way out.
    type: path
  cache:
    description:
      - Directory on the control host for what was fetched from a package index.
      - By default C(qingcloud.cni) in E(XDG_CACHE_HOME) or in C(~/.cache).
    type: path
  root:
    description: Directory of all versions.
    type: path
    default: /usr/lib/hostnic
  sbin_dir:
    description: Where the link to C(qingagent) goes. The units name the default.
    type: path
    default: /usr/local/sbin
  bin_dir:
    description: Where the link to C(qingcni) goes.
    type: path
    default: /opt/cni/bin
  unit_dir:
    description:
      - Where units go. They are files of their own and not links to the active version, because C(systemctl enable) and
        C(systemctl disable) follow and remove links to units that lie elsewhere.
      - systemd is told to read its units again only where this is the default.
    type: path
    default: /etc/systemd/system
  files:
    description: Set by the action plugin. Files that are laid down beside the package.
    type: dict
    default: {}
  lock:
    description: Set by the action plugin. The text of C(files/requirements.lock).
    type: str
    default: ''
  collection_version:
    description: Set by the action plugin. The version of the collection.
    type: str
    default: ''
  archive:
    description: Set by the action plugin. The archive of third-party packages on the node.
    type: path
"""

EXAMPLES = r"""
- name: Install the agent and the CNI plugin
  qingcloud.cni.hostnic_install:

- name: Install them from a control host without a package index
  qingcloud.cni.hostnic_install:
    wheelhouse: /srv/wheelhouse

- name: Go back to the version before
  qingcloud.cni.hostnic_install:
    state: rolled_back
  register: rollback

- name: Run that version
  ansible.builtin.systemd_service:
    name: qingagent.service
    state: restarted
  when: rollback is changed
"""

RETURN = r"""
digest:
  description: The version that this collection has for the node, or the active one. C(qingagent version) prints it.
  type: str
  returned: success
  sample: 3f2a90cc15b7de08
current:
  description: The version that is active afterwards.
  type: str
  returned: success
  sample: 3f2a90cc15b7de08
previous:
  description: The version that O(state=rolled_back) would activate.
  type: str
  returned: success
  sample: 91bc07f4a2d36e55
version:
  description: The version of the collection that the active version came from.
  type: str
  returned: success
  sample: 0.1.0
python:
  description: The interpreter that the active version runs under.
  type: str
  returned: success
  sample: /usr/bin/python3.11
root:
  description: Directory of all versions.
  type: str
  returned: success
  sample: /usr/lib/hostnic
active:
  description: Whether it was active already, so that O(state=present) would have changed nothing.
  type: bool
  returned: O(state=present) and O(state=staged)
version_path:
  description: Directory of this collection's version.
  type: str
  returned: O(state=present) and O(state=staged)
  sample: /usr/lib/hostnic/3f2a90cc15b7de08
deps_path:
  description: Directory of its third-party packages.
  type: str
  returned: O(state=present) and O(state=staged)
  sample: /usr/lib/hostnic/deps-77d0a1b2c3d4e5f6
removed:
  description: Versions and third-party packages that were removed because nothing needed them any more.
  type: list
  elements: str
  returned: success
"""

import typing as t
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import payload
from ..module_utils._ansible.host import check_host, systemctl_of
from ..module_utils._ansible.install import Installer, Places
from ..module_utils.hostnic.errors import HostnicError

ARGUMENTS: dict[str, dict[str, t.Any]] = {
    "state": {"choices": ["present", "staged", "rolled_back", "pruned", "absent"], "default": "present"},
    "digest": {},
    "keep": {"type": "int", "default": 0},
    "wheelhouse": {"type": "path"},
    "cache": {"type": "path"},
    "root": {"type": "path", "default": "/usr/lib/hostnic"},
    "sbin_dir": {"type": "path", "default": "/usr/local/sbin"},
    "bin_dir": {"type": "path", "default": "/opt/cni/bin"},
    "unit_dir": {"type": "path", "default": "/etc/systemd/system"},
    "files": {"type": "dict", "default": {}},
    "lock": {"default": ""},
    "collection_version": {"default": ""},
    "archive": {"type": "path"},
}


def install(module: AnsibleModule, installer: Installer) -> dict[str, t.Any]:
    """What the state asks for."""
    wanted = module.params
    if wanted["state"] == "rolled_back":
        return installer.rolled_back(wanted["digest"])
    if wanted["state"] == "pruned":
        return installer.pruned()
    if wanted["state"] == "absent":
        return installer.absent()
    package = payload.carried()
    version = payload.build(
        installer.places.root, package, wanted["files"], wanted["lock"], wanted["collection_version"]
    )
    return installer.present(version, wanted["lock"], wanted["archive"], activate=wanted["state"] == "present")


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENTS, supports_check_mode=True)
    systemctl = systemctl_of(module)
    places = Places(*(Path(module.params[key]) for key in ("root", "sbin_dir", "bin_dir", "unit_dir")))
    try:
        check_host(systemctl)
        result = install(module, Installer(places, systemctl, module.params["keep"], module.check_mode))
    except HostnicError as error:
        module.fail_json(msg=error.message)
    except PermissionError as error:
        module.fail_json(msg=f"installing needs root, so set become: {error}")
    except OSError as error:
        module.fail_json(msg=f"the node's file system refused: {error}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
