# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The page as HTML. An environment of its own, since Ansible's templates escape nothing, whatever they ask for."""

from __future__ import annotations

import re
import typing as t
from functools import lru_cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from ...module_utils.hostnic.commands.output import span
from .answers import Fleet
from .page import Page, page
from .picture import BY_KEY, KINDS

TEMPLATE: t.Final = Path(__file__).resolve().parents[3] / "files" / "report"
LARGEST: t.Final = 1_900_000  # bytes of a page
_DIGEST: t.Final = re.compile(r'<meta name="answers" content="([0-9a-f]{16})">')


def document(fleet: Fleet, at: str) -> tuple[Page, str]:
    """What is shown, and the page: in brief where it would be too large."""
    for brief in (False, True):
        shown = page(fleet, at, brief)
        text = html(shown)
        if len(text) <= LARGEST and len(text.encode("utf-8")) <= LARGEST:
            break
    return shown, text


def html(shown: Page) -> str:
    """One document that needs nothing besides."""
    return _template().render(page=shown, kinds=KINDS, kind=BY_KEY) + "\n"


@lru_cache(maxsize=1)
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(age=age, prose=prose)
    return environment.get_template("page.html.j2")


def prose(sentence: str) -> Markup:
    """With what stands between backticks as code."""
    parts = sentence.split("`")
    if len(parts) % 2 == 0:
        return escape(sentence)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if number % 2 else escape(part) for number, part in enumerate(parts)
    )


def digest(document: str) -> str:
    """The fingerprint of the answers that a page shows; "" for what is no such page."""
    found = _DIGEST.search(document[:4096])
    return found[1] if found else ""


def age(seconds: t.Optional[float]) -> str:
    """As a person would say it: "3 m", "2 h", "5 d"; "" for unknown."""
    return "" if seconds is None else span(seconds)
