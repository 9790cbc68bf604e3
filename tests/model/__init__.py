# SPDX-License-Identifier: GPL-3.0-or-later
"""The pool under everything that can happen to it, in any order: random operations, and what must hold after each."""

from __future__ import annotations

from tests.support import package as package
