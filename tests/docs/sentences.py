# SPDX-License-Identifier: GPL-3.0-or-later
"""Sentences in "quotation marks" of the guides, and whether the product can say them. `…` stands for what differs."""

from __future__ import annotations

import ast
import re
import typing as t
from functools import lru_cache
from pathlib import Path

from markdown_it import MarkdownIt

from tests.docs.pages import CLONE

GAP: t.Final = "…"
LEAST: t.Final = 12  # characters besides gaps, or anything would fit

_QUOTED = re.compile(r'"([^"]+)"')
_JINJA = re.compile(r"\{\{.*?\}\}|\{%.*?%\}", re.DOTALL)
_PRINTF = re.compile(r"%[-0-9.]*[a-z]")


def quoted(path: str) -> list[str]:
    """Those of a page; not those within code."""
    found = []
    for token in MarkdownIt().enable("table").parse((CLONE / path).read_text(encoding="utf-8")):
        plain = "".join(child.content if child.type == "text" else " " for child in token.children or ())
        found += _QUOTED.findall(plain)
    return found


def said(sentence: str, corpus: t.Optional[t.Iterable[str]] = None) -> bool:
    """Whether one text of the product has all of its pieces, in this order; or one what is wrong and one the remedy.

    Errors put `what: remedy` together by themselves.
    """
    halves = [half for half in sentence.split(": ", 1) if half.strip(GAP)]
    return _said(sentence, corpus) or (": " in sentence and all(_said(half, corpus) for half in halves))


def _said(sentence: str, corpus: t.Optional[t.Iterable[str]]) -> bool:
    pieces = [piece.strip() for piece in sentence.split(GAP)]
    if len("".join(pieces)) < LEAST:
        return False
    pattern = re.compile(".*".join(map(re.escape, filter(None, pieces))))
    return any(pattern.search(text) for text in (product() if corpus is None else corpus))


@lru_cache(maxsize=1)
def product() -> tuple[str, ...]:
    """All that modules, roles, playbooks, agent and plugin may say, with gaps for what is put in."""
    texts: list[str] = []
    for root in ("plugins", "files"):
        for path in sorted((CLONE / root).rglob("*.py")):
            texts += of_python(path.read_text(encoding="utf-8"))
    for root in ("roles", "playbooks"):
        for path in sorted((CLONE / root).rglob("*.yml")):
            texts.append(of_yaml(path))
    return tuple(texts)


def of_python(source: str) -> list[str]:
    """Its texts, docstrings among them; a format string has gaps."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(_PRINTF.sub(GAP, " ".join(node.value.split())))
        elif isinstance(node, ast.JoinedStr):
            parts = [str(one.value) if isinstance(one, ast.Constant) else GAP for one in node.values]
            found.append(" ".join("".join(parts).split()))
    return found


def of_yaml(path: Path) -> str:
    return " ".join(_JINJA.sub(GAP, path.read_text(encoding="utf-8")).split())
