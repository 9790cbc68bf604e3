# SPDX-License-Identifier: GPL-3.0-or-later
"""Which package this process runs, and which formats it speaks: what an upgrade compares."""

from __future__ import annotations

import json
import os
import sys
import typing as t
from pathlib import Path

from .. import wire
from ..store.migrations import SCHEMA


def package() -> dict[str, t.Any]:
    """`version` and `digest` are empty where the package was not laid down by `hostnic_install`."""
    manifest = Path(__file__).resolve().parents[2] / "manifest.json"
    told = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    return {
        "version": told.get("version", ""),
        "digest": told.get("digest", ""),
        "python": sys.executable,
        "journal_schema": SCHEMA,
        "protocol": wire.PROTOCOL,
        "pid": os.getpid(),
    }
