# SPDX-License-Identifier: GPL-3.0-or-later
"""Parameters of one call: flat names, lists as ``name.N`` with any N in any order."""

from __future__ import annotations

import json
import typing as t

from tests.emulator.errors import bad_format

_NOT_IN_DIRECTIVE = frozenset(
    (
        "access_key_id",
        "expires",
        "req_id",
        "signature",
        "signature_method",
        "signature_version",
        "time_stamp",
        "token",
        "version",
    )
)


class Params:
    """Raises the documented 1100 for what is missing or badly formed."""

    def __init__(self, values: t.Mapping[str, str]) -> None:
        self._values = dict(values)

    def text(self, name: str) -> str | None:
        """None when absent; an empty value counts as given."""
        return self._values.get(name)

    def required(self, name: str) -> str:
        value = self._values.get(name)
        if not value:
            raise bad_format(f"parameter [{name}] is missing")
        return value

    def number(self, name: str, default: int) -> int:
        value = self._values.get(name)
        if value is None:
            return default
        try:
            return int(value)
        except ValueError:
            raise bad_format(f"parameter [{name}] must be a number, not [{value}]") from None

    def flag(self, name: str, default: int) -> int:
        value = self.number(name, default)
        if value not in (0, 1):
            raise bad_format(f"parameter [{name}] must be 0 or 1, not [{value}]")
        return value

    def items(self, name: str) -> list[str]:
        """The list ``name.N`` by N; a bare ``name`` is a list of one."""
        found: dict[int, str] = {}
        for key, value in self._values.items():
            stem, dot, index = key.rpartition(".")
            if dot and stem == name and index.isdecimal():
                found[int(index)] = value
        if not found and name in self._values:
            return [self._values[name]]
        return [found[index] for index in sorted(found)]

    def required_items(self, name: str) -> list[str]:
        values = self.items(name)
        if not values:
            raise bad_format(f"parameter [{name}] is missing")
        return values

    def numbers(self, name: str) -> list[int]:
        try:
            return [int(value) for value in self.items(name)]
        except ValueError:
            raise bad_format(f"parameter [{name}] must be a list of numbers") from None

    def structures(self, name: str) -> list[dict[str, str]]:
        """The list of objects ``name.N.key``."""
        found: dict[int, dict[str, str]] = {}
        for key, value in self._values.items():
            parts = key.split(".")
            if len(parts) == 3 and parts[0] == name and parts[1].isdecimal():
                found.setdefault(int(parts[1]), {})[parts[2]] = value
        return [found[index] for index in sorted(found)]

    def directive(self) -> str:
        """The request as a job keeps it: a JSON string with lists joined up, without what authenticates it."""
        request: dict[str, t.Any] = {}
        for key, value in self._values.items():
            stem, dot, index = key.rpartition(".")
            if dot and index.isdecimal() and "." not in stem:
                request[stem] = self.items(stem)
            elif key not in _NOT_IN_DIRECTIVE:
                request[key] = value
        return json.dumps(request, sort_keys=True)
