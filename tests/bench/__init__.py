# SPDX-License-Identifier: GPL-3.0-or-later
"""Measurements beside a yardstick, in one run: what a promise about costs is held against."""

from __future__ import annotations

from tests.support import package as package
