# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what; everything it leaves in the kernel carries PREFIX."""

from __future__ import annotations

import os
from pathlib import Path

# LAB_NAME= for a second lab beside the first; it needs a LAB_NETWORK= of its own too.
NAME = os.environ.get("LAB_NAME", "")
PREFIX = f"qclab{NAME}"

CLONE = Path(__file__).resolve().parents[2]

# Gone after `down`.
RUN = Path(f"/run/qingcloud-lab{NAME}")
LOGS = RUN / "logs"
NODES = RUN / "nodes"
LAB_JSON = RUN / "lab.json"
INVENTORY = RUN / "inventory.yml"
WORLD = RUN / "world.json"
SSH_KEY = RUN / "id_ed25519"
KNOWN_HOSTS = RUN / "known_hosts"
# ssh's control sockets: below RUN and short, since a socket's path has 108 bytes.
CONTROL = RUN / "cp"

# Gone after `down`, on a real file system: an overlay's upper layer cannot lie on another overlay.
WORK = Path(f"/var/lib/qingcloud-lab{NAME}")

# Kept by `down`.
CACHE = Path("/var/cache/qingcloud-lab")
LOCK = CACHE / f"lock{NAME}"
