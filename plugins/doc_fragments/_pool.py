# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Modules that reach a node's pool; the code is in module_utils/_ansible/pool.py."""

from __future__ import annotations


class ModuleDocFragment:
    """`options` and `notes`."""

    DOCUMENTATION = r"""
options:
  socket:
    description:
      - Where the agent of the node listens. Where this exists, the agent is asked, and the module fails if it does not
        answer.
    type: path
    default: /run/qingagent/qingagent.sock
  configuration:
    description: Directory of the agent's configuration. Read where no agent runs.
    type: path
    default: /etc/qingagent
  instance_id_path:
    description: File on the node that holds the id of its instance. Read where no agent runs.
    type: path
    default: /etc/qingcloud/instance-id
notes:
  - Runs on the node and needs root.
  - Where no agent runs (C(systemctl stop qingagent.socket qingagent)), the module does the agent's work itself, with
    the agent's settings, journal and access file, and holds the journal's lock meanwhile.
"""
