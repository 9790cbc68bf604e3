# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/executed.md: how many blocks of the documentation are executed, and which are not, with the reason."""

from __future__ import annotations

import textwrap
import typing as t

from tests.docs import pages
from tests.docs.pages import Block

_PAGE: t.Final = "docs/executed.md"


def everything() -> dict[str, list[Block]]:
    """Page ► its blocks; pages without any are left out."""
    found = {path: pages.read(path) for path in pages.paths()}
    return {path: blocks for path, blocks in found.items() if blocks}


def summary() -> str:
    blocks = [block for page in everything().values() for block in page]
    return _count(blocks) + "".join(f"\n  {block.place}: {block.reason}" for block in blocks if block.reason)


def _count(blocks: t.Sequence[Block]) -> str:
    left_out = [block for block in blocks if block.reason]
    return f"{len(blocks)} blocks: {len(blocks) - len(left_out)} executed, {len(left_out)} not executed here"


def page() -> str:
    found = everything()
    blocks = [block for page in found.values() for block in page]
    lines = [
        "# What of the documentation is executed",
        "",
        "Commands, programs and example files of all pages. `tests/e2e/test_docs.py` executes them in the lab, page by",
        "page and from top to bottom; those that it does not execute say so above them. Drawn by",
        "`python -m tests.docs executed`, compared by `tests/unit/test_docs.py`.",
        "",
        f"**{_count(blocks)}.**",
        "",
        "| page | blocks | executed |",
        "|---|---|---|",
        *(f"| {_link(path)} | {len(of)} | {sum(not block.reason for block in of)} |" for path, of in found.items()),
        "",
        "| not executed here | begins with | why |",
        "|---|---|---|",
        *(f"| {_link(block.page)} | `{_first(block)}` | {block.reason} |" for block in blocks if block.reason),
    ]
    return "\n".join(lines) + "\n"


def _first(block: Block) -> str:
    line = block.text.splitlines()[0].partition("  #")[0].strip()
    return textwrap.shorten(line, 60, placeholder=" …").replace("|", "\\|")


def _link(path: str) -> str:
    target = path[len("docs/") :] if path.startswith("docs/") else f"../{path}"
    return f"[{path}]({target})"
