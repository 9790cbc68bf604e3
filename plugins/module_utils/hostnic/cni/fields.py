# SPDX-License-Identifier: GPL-3.0-or-later
"""Fields of JSON objects, by their kind; what is wrong is named with what is wanted instead."""

from __future__ import annotations

import typing as t

from ..configuration.values import duration
from ..errors import InvalidConfig

Json = t.Mapping[str, t.Any]
_T = t.TypeVar("_T")
_WORDS: t.Final = {str: "text", bool: "true or false", dict: "an object", list: "a list", int: "a whole number"}


def get(config: Json, key: str, kind: type[_T], default: _T, prefix: str = "") -> _T:
    """The field, the default where it is absent or null. Raises `InvalidConfig`, as all of these."""
    value = config.get(key)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidConfig(f"{prefix}{key}: {_WORDS[kind]} is wanted, not {excerpt(value)}")
    return value


def texts(config: Json, key: str, prefix: str = "") -> tuple[str, ...]:
    """A list of texts, empty where it is absent or null."""
    items: list[t.Any] = get(config, key, list, [], prefix)
    if not all(isinstance(item, str) for item in items):
        raise InvalidConfig(f"{prefix}{key}: a list of texts is wanted, not {excerpt(items)}")
    return tuple(items)


def one_of(config: Json, key: str, words: t.Sequence[str], default: str) -> str:
    """One of these words, the default where it is absent or null."""
    word = get(config, key, str, default)
    if word not in words and word != default:
        raise InvalidConfig(f"{key}: {', '.join(words[:-1])} or {words[-1]} is wanted, not {excerpt(word)}")
    return word


def seconds(value: t.Any, where: str) -> float:
    """A duration such as 10m. Raises `InvalidConfig`."""
    found = duration(value) if isinstance(value, str) else None
    if found is None:
        raise InvalidConfig(f'{where}: a duration such as "10m" is wanted, "0" for none, not {excerpt(value)}')
    return found


def excerpt(value: t.Any) -> str:
    """For a sentence: not the whole of something long, and no sign that a terminal could not show."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
