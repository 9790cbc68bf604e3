# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops a check."""

from __future__ import annotations


class CheckError(Exception):
    """The message is what a tool found, or why it could not look."""
