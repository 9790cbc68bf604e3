# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures on a real account what nobody documents, with four NICs that are gone afterwards."""
