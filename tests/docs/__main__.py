# SPDX-License-Identifier: GPL-3.0-or-later
"""`python -m tests.docs NAME` prints a page that is drawn: commands, errors, executed or variables."""

from __future__ import annotations

import sys

from tests.docs import commands, errors, listing, variables

PAGES = {"commands": commands.page, "errors": errors.page, "executed": listing.page, "variables": variables.page}


def main() -> int:
    if len(sys.argv) != 2 or sys.argv[1] not in PAGES:
        print(f"usage: python -m tests.docs {'|'.join(PAGES)}", file=sys.stderr)
        return 2
    sys.stdout.write(PAGES[sys.argv[1]]())
    return 0


if __name__ == "__main__":
    sys.exit(main())
