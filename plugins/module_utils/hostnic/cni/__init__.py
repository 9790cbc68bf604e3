# SPDX-License-Identifier: GPL-3.0-or-later
"""CNI as the agent carries it out: validation, verbs, results per version. qingcni itself only carries bytes."""
