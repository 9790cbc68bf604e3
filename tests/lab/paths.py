# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the lab keeps what; everything it leaves in the kernel carries PREFIX."""

from __future__ import annotations

from pathlib import Path

PREFIX = "qclab"

CLONE = Path(__file__).resolve().parents[2]

# Gone after `down`.
RUN = Path("/run/qingcloud-lab")
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
WORK = Path("/var/lib/qingcloud-lab")

# Kept by `down`.
CACHE = Path("/var/cache/qingcloud-lab")
