# SPDX-License-Identifier: GPL-3.0-or-later
"""Real nodes on one machine, instances of the emulated cloud. Tests start at ``tests.lab.lab.Lab.load()``."""
