# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.docs executed` and `python -m tests.docs variables` print a page that is drawn."""

from __future__ import annotations

import sys

from tests.docs import listing, variables

PAGES = {"executed": listing.page, "variables": variables.page}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in PAGES:
        print(f"usage: python -m tests.docs {'|'.join(PAGES)}", file=sys.stderr)
        return 2
    sys.stdout.write(PAGES[sys.argv[1]]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
