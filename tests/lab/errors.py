# SPDX-License-Identifier: GPL-3.0-or-later
"""The one exception that a user of the lab sees."""

from __future__ import annotations


class LabError(Exception):
    """A sentence that says what is wrong and, where there is one, what to do."""
