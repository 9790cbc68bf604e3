# SPDX-License-Identifier: GPL-3.0-or-later
"""Text without secrets: by value, as this process has come to know them, and by shape, as `signature=…` tells itself.

Whoever reads or makes a secret has it `learn`ed here, before anything can be said about it. What leaves the process
(a line of the log, an answer, a report) goes through `text` or `value` at its last step.
"""

from __future__ import annotations

import json
import re
import threading
import typing as t
from urllib.parse import quote, quote_plus

MASK: t.Final = "***"
SHORTEST: t.Final = 8  # characters: what is shorter occurs in harmless words, and is known by its shape only
MOST: t.Final = 64  # values that are kept: a role's key lives for an hour and has a successor then

# By so many characters at either end a secret is known again of which the rest was cut off, if it is long enough for
# those to be no word.
_END: t.Final = 12
_LONG: t.Final = 16
_WORD: t.Final = r"[\w%+/=.~-]*"

# Names whose value is a secret, in any spelling of configurations, queries, headers and variables.
_NAMES: t.Final = (
    r"(?:secret(?:[_-]?[a-z0-9]+){0,4}|passw(?:or)?d|passphrase|signature|token|authorization|"
    r"private[_-]?key|access[_-]?key(?:[_-]?id)?)"
)
_NAME: t.Final = re.compile(rf"[\w-]*{_NAMES}", re.I)
# Most texts have none of these, and are let go by one look for each.
_HINTS: t.Final = (
    *("secret", "passw", "passphrase", "signature", "token", "authorization", "private", "access", "bearer", "://"),
)
_NAMED: t.Final = re.compile(
    rf"(?P<name>{_NAMES}(?P<end>\\*[\"']?)[ \t]*(?:=|:|%3d)[ \t]*)"
    r"(?P<value>"
    r'"(?:[^"\\\n]|\\.)*(?P<double>"?)|'
    r"'(?:[^'\\\n]|\\.)*(?P<single>'?)|"
    r"(?P<escaped>\\+[\"'])(?:(?!(?P=escaped)).)*|"
    r"(?:bearer[ \t]+|basic[ \t]+)?[^\s\"'\\&,;<>(){}\[\]]+"
    r")",
    re.I,
)
# What JSON has without quotes is a number or a structure, and no secret of ours.
_PLAIN_JSON: t.Final = re.compile(r"-?\d+(?:\.\d+)?(?:e[+-]?\d+)?|true|false|null", re.I)
_IS_KEY_ID: t.Final = re.compile(r"key[_-]?id", re.I)
_KEY_ID: t.Final = re.compile(r"\\*[\"']?\w{4}…\\*[\"']?")  # as `key_id` shows it
_NAMELESS: t.Final = (
    (re.compile(r"\b(bearer[ \t]+)[\w+/=.~-]{8,}", re.I), rf"\1{MASK}"),
    (re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"), MASK),
    (re.compile(r"(-----BEGIN [A-Z ]*PRIVATE KEY-----).*?(?=-----END|\Z)", re.S), rf"\1{MASK}"),
)

if t.TYPE_CHECKING:  # errors come by here, on Python 3.8 too: to say that it is too old
    _Known = tuple[tuple[str, t.Pattern[str], str], ...]  # what occurs in a text, what is replaced then, by what


class Redactor:
    """Safe for several threads. One for a process is enough: see the functions below."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._values: dict[str, str] = {}
        self._known: _Known = ()

    def learn(self, value: str, shown: str = MASK) -> None:
        """From now on `value` is shown as this, also where it is escaped, and where its beginning or end is missing."""
        if len(value) < SHORTEST or value in self._values:
            return
        with self._lock:
            self._values[value] = shown
            while len(self._values) > MOST:
                del self._values[next(iter(self._values))]
            known = [one for secret, mask in self._values.items() for one in _patterns(secret, mask)]
            # the longest first: one secret may be part of another
            self._known = tuple(sorted(known, key=lambda one: -len(one[0])))

    def text(self, text: str) -> str:
        """Without what is secret. JSON stays JSON."""
        for part, pattern, shown in self._known:
            if part in text:
                text = pattern.sub(lambda __, shown=shown: shown, text)  # type: ignore[misc]
        lowered = text.lower()
        if not any(hint in lowered for hint in _HINTS):
            return text
        text = _NAMED.sub(_masked, text)
        for shape, mask in _NAMELESS:
            text = shape.sub(mask, text)
        return text

    def value(self, value: t.Any) -> t.Any:
        """The same of what JSON can say: each text in it, and what stands under a secret's name."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, t.Mapping):
            return {self.text(str(name)): self._member(str(name), one) for name, one in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.value(one) for one in value]
        return value

    def _member(self, name: str, value: t.Any) -> t.Any:
        if isinstance(value, str) and value and _NAME.fullmatch(name):
            known = self.text(value)
            return known if known != value else MASK
        return self.value(value)

    def learn_from(self, text: str) -> None:
        """What stands in this text (a file that may be damaged) after a secret's name, in quotes or without."""
        for found in _NAMED.finditer(text):
            value = found["value"].strip("\\\"'")
            self.learn(value, key_id(value) if _IS_KEY_ID.search(found["name"]) else MASK)


def key_id(access_key_id: str) -> str:
    """What is shown of an access key's id, so that people can tell keys apart."""
    return f"{access_key_id[:4]}…"


def _patterns(secret: str, shown: str) -> t.Iterator[tuple[str, t.Pattern[str], str]]:
    escaped = json.dumps(secret)[1:-1]
    forms = {secret, quote(secret, safe=""), quote_plus(secret), escaped, json.dumps(escaped)[1:-1], repr(secret)[1:-1]}
    for form in sorted(forms):
        yield form, re.compile(re.escape(form)), shown
        if len(form) >= _LONG:
            yield form[:_END], re.compile(re.escape(form[:_END]) + _WORD), shown
            yield form[-_END:], re.compile(_WORD + re.escape(form[-_END:])), shown


def _masked(found: t.Match[str]) -> str:
    value = found["value"]
    if (found["end"].endswith('"') and _PLAIN_JSON.fullmatch(value)) or _KEY_ID.fullmatch(value):
        return found[0]
    if found["escaped"]:
        return f"{found['name']}{found['escaped']}{MASK}"
    if value[0] in "\"'":
        return f"{found['name']}{value[0]}{MASK}{found['double'] or found['single'] or ''}"
    return f"{found['name']}{MASK}"


_OF_PROCESS: t.Final = Redactor()
learn: t.Final = _OF_PROCESS.learn
learn_from: t.Final = _OF_PROCESS.learn_from
text: t.Final = _OF_PROCESS.text
value: t.Final = _OF_PROCESS.value
