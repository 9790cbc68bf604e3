# SPDX-License-Identifier: GPL-3.0-or-later
"""What moves packets: nothing at all, or bridges and veth pairs in network namespaces.

``netns`` is imported only where it is used, since it alone needs pyroute2 and root.
"""
