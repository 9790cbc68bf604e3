# SPDX-License-Identifier: GPL-3.0-or-later
"""Every promise about a call of qingcni, as cells of tables that are executed one by one."""

from __future__ import annotations

from tests.support import package as package
