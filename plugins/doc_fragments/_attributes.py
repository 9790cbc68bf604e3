# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What modules say of themselves; each states its own support."""

from __future__ import annotations


class ModuleDocFragment:
    """`attributes` for modules; `.action_group` for those that ask the cloud."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Tells in check mode whether it would change something, and changes nothing.
  diff_mode:
    description: Shows in diff mode what was changed, or would be.
  idempotent:
    description: A second run with the same options reports no change.
"""

    ACTION_GROUP = r"""
options: {}
attributes:
  action_group:
    description: Takes the defaults of this action group in C(module_defaults).
    support: full
    membership:
      - qingcloud.cni.qingcloud
"""
