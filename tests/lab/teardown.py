# SPDX-License-Identifier: GPL-3.0-or-later
"""Taking everything away, found by what the kernel shows, whatever state a killed command left it in."""

from __future__ import annotations

import shutil
import signal
from concurrent.futures import ThreadPoolExecutor

from tests.lab import cgroups, cloud, machine, mounts, netns, rootfs, ssh
from tests.lab.machine import Machine
from tests.lab.paths import RUN, WORK
from tests.lab.progress import Progress
from tests.lab.sh import run


def anything() -> bool:
    """Whether there is something of a lab on this machine."""
    found = [*cgroups.names(), *netns.names(), *netns.our_links(), *mounts.below(RUN), *mounts.below(WORK)]
    return bool(found) or RUN.exists() or WORK.exists()


def destroy(progress: Progress) -> None:
    """Raises LabError for what cannot be removed; a second call carries on where the first ended."""
    ssh.close_all()
    nodes = machine.all_names()
    if nodes:
        with progress.step(f"powering off {', '.join(nodes)}"), ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda name: Machine(name).power_off(), nodes))
    with progress.step("cloud, namespaces, mounts"):
        cgroups.clear(cloud.GROUP, signal.SIGTERM, 10)
        for group in cgroups.names():
            cgroups.clear(group)
        for name in netns.names():
            netns.delete(name)
        for link in netns.our_links():
            run(["ip", "link", "delete", link], check=False)
        netns.release()
        for folder in (RUN, WORK):
            mounts.unmount_below(folder)
            shutil.rmtree(folder, ignore_errors=True)
        rootfs.sweep()
