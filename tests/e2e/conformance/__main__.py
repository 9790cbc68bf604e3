# SPDX-License-Identifier: GPL-3.0-or-later
"""The page on stdout."""

from __future__ import annotations

import sys

from tests.e2e.conformance.page import page

sys.stdout.write(page())
