# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The control host's half of `hostnic_probe`: sends packages to a node that lacks them."""

from __future__ import annotations

from ansible_collections.qingcloud.cni.plugins.plugin_utils.packages import PackagesAction


class ActionModule(PackagesAction):
    """All of it is shared."""
