# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration."""

from __future__ import annotations

from .load import check, env_name, instance_id, load
from .settings import Settings

__all__ = ["Settings", "check", "env_name", "instance_id", "load"]
