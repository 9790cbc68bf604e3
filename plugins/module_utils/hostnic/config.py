# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's configuration, as the rest of the package needs it."""

from __future__ import annotations

from .configuration.files import find
from .configuration.load import CREDENTIAL, DIRECTORY, ENVIRONMENT, check, env_name, instance_id, load
from .configuration.settings import Settings

__all__ = ["CREDENTIAL", "DIRECTORY", "ENVIRONMENT", "Settings", "check", "env_name", "find", "instance_id", "load"]
