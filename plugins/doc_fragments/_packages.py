# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Modules that need third-party packages; the code is in module_utils/_ansible/packages.py."""

from __future__ import annotations


class ModuleDocFragment:
    """`options`, `requirements` and `notes`."""

    DOCUMENTATION = r"""
options:
  packages:
    description: Set by the action plugin. The third-party packages that this module needs.
    type: dict
    default: {}
requirements:
  - Python 3.9 or later on the machine that this runs on.
notes:
  - Needs nothing installed on the machine that it runs on. Where its Python lacks the third-party packages, the control
    host fetches those of C(files/requirements.lock) with pip, or takes them from the directory that the variable
    C(qingagent_wheelhouse) names, and sends them once. They are kept below C(/usr/lib/hostnic), or below
    C(~/.cache/qingcloud.cni) where that may not be written, and this is not reported as a change.
"""
