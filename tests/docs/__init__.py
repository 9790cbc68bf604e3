# SPDX-License-Identifier: GPL-3.0-or-later
"""The documentation held to its word: its commands are executed, its examples read, its sentences looked up."""

from __future__ import annotations

from tests.support import package as package
