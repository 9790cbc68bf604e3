# SPDX-License-Identifier: GPL-3.0-or-later
"""The blocks of the documentation's pages, by what a reader sees.

A fenced block of the language `sh` or `console` holds commands, one of `python` a program, and one of `yaml`, `json`
or `ini` a file; `text` and `mermaid` are pictures. What happens to a block, the paragraph right above it says:

* "on a node" or "on every node": there, and not on the control host;
* a name in backticks, last of all: a file is written under that name;
* "*Not executed here: reason.*": so it is.

In a `console` block, commands have the prompt `$`, and what they have to print stands below them.
"""

from __future__ import annotations

import re
import subprocess
import typing as t
from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt
from markdown_it.token import Token

CLONE = Path(__file__).resolve().parents[2]

COMMANDS: t.Final = ("sh", "console", "python")
FILES: t.Final = ("yaml", "json", "ini")
PICTURES: t.Final = ("text", "mermaid")

_NOT_EXECUTED = re.compile(r"^\*Not executed here: (.+?)\.?\*$", re.DOTALL)
_FILE = re.compile(r"`([^`\s]+)`[^`]*$")


class PageError(Exception):
    """A page breaks the convention; the message names the line and what to write."""


@dataclass(frozen=True)
class Block:
    """`line` is that of its fence. `above`: the paragraph right above it, on one line."""

    page: str
    line: int
    language: str
    text: str
    above: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def reason(self) -> str:
        """Why it is not executed; empty for one that is."""
        found = _NOT_EXECUTED.match(self.above)
        return found[1] if found else ""

    @property
    def where(self) -> str:
        """`control`, `node` (the first) or `nodes` (each)."""
        above = self.above.lower()
        return "nodes" if "on every node" in above else "node" if "on a node" in above else "control"

    @property
    def file(self) -> str:
        """The name of a file, which the paragraph above has last."""
        found = _FILE.search(self.above)
        return found[1] if found else ""


def paths() -> list[str]:
    """Every page of the repository, also those that are new."""
    argv = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(argv, cwd=CLONE, capture_output=True, text=True, check=True).stdout
    return sorted(path for path in listed.split("\0") if path and (CLONE / path).exists())


def read(path: str) -> list[Block]:
    return blocks(path, (CLONE / path).read_text(encoding="utf-8"))


def blocks(page: str, text: str) -> list[Block]:
    """In the order of the page, pictures left out. Raises `PageError` for one that breaks the convention."""
    found = []
    tokens = MarkdownIt().parse(text)
    for number, token in enumerate(tokens):
        if token.type == "code_block":
            raise PageError(f"{page}:{_line(token)}: an indented block: write it between fences, with its language")
        if token.type != "fence":
            continue
        language = token.info.strip()
        block = Block(page, _line(token), language, token.content, _above(tokens[:number]))
        if language in PICTURES:
            continue
        _check(block)
        found.append(block)
    return found


def _check(block: Block) -> None:
    if block.language not in (*COMMANDS, *FILES):
        raise PageError(
            f"{block.place}: a block of {block.language or 'no language'}: "
            f"{', '.join((*COMMANDS, *FILES, *PICTURES))} are known"
        )
    if block.language in FILES and not block.file and not block.reason:
        raise PageError(f"{block.place}: name this file in backticks in the sentence above, or say why it is not used")


def _line(token: Token) -> int:
    return (token.map or [0])[0] + 1


def _above(tokens: t.Sequence[Token]) -> str:
    """The text of the paragraph that ends right before, empty for anything else."""
    if len(tokens) < 2 or tokens[-1].type != "paragraph_close":
        return ""
    return " ".join(tokens[-2].content.split())


def spans(path: str) -> list[tuple[int, str]]:
    """Every piece of code within a sentence or a table, with the line that its paragraph begins in."""
    found = []
    for token in _tokens(path):
        for child in token.children or ():
            if child.type == "code_inline":
                found.append((_line(token), child.content))
    return found


def links(path: str) -> list[tuple[str, str]]:
    """Within the repository: file, empty for the page itself, and heading, empty for none."""
    found = []
    for token in _tokens(path):
        for child in token.children or ():
            target = str(child.attrs.get("href") or child.attrs.get("src") or "")
            if target and "://" not in target and not target.startswith("mailto:"):
                file, _, heading = target.partition("#")
                found.append((file, heading))
    return found


def headings(path: str) -> set[str]:
    """As links name them: in lower case, with - for blanks and without punctuation."""
    tokens = _tokens(path)
    titles = [after.content for token, after in zip(tokens, tokens[1:]) if token.type == "heading_open"]
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def _tokens(path: str) -> list[Token]:
    return MarkdownIt().enable("table").parse((CLONE / path).read_text(encoding="utf-8"))
