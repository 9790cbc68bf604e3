# SPDX-License-Identifier: GPL-3.0-or-later
"""What tools say of the collection: of its sources, and of the artifact that is built from them."""
