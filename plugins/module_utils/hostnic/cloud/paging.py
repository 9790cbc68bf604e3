# SPDX-License-Identifier: GPL-3.0-or-later
"""Every row of a Describe, in pages, from a server that gives no snapshot and may give less than it counts.

No `limit` would mean 20 rows, and one of more than 100 is silently cut. What `total_count` counts is not documented:
the rows that match, or all that the account has. Nor is the order, nor whether pages are of one moment.
"""

from __future__ import annotations

import logging
import typing as t
from dataclasses import dataclass, field, replace

from ..errors import Denied, NotFound, Unreachable
from . import items
from .connection import Calls
from .replies import with_message
from .retry import Patience

log = logging.getLogger("hostnic.cloud")

PAGE: t.Final = 100  # rows; the most that the API gives at once
# Above this many pages the server is not paging but repeating itself.
_MOST_PAGES = 1000
# A server that shuffles its rows for each page shows 252 of them, the most of one name and vxnet, in about 7 readings.
_MOST_READINGS = 12

_T = t.TypeVar("_T")
Row = t.Optional[tuple[str, _T]]


@dataclass(frozen=True)
class Query(t.Generic[_T]):
    """`rows`: name of the answer's list; `parse`: a row's id and value, None for a row without an id.

    `nothing`: parameters that match nothing, which shows what the server counts; None where it counts without doubt.
    `counted`: an empty page is doubted where rows are counted; not where there is no way to tell what is counted.
    """

    action: str
    rows: str
    parse: t.Callable[[items.Item], Row[_T]]
    params: t.Mapping[str, t.Any] = field(default_factory=dict)
    nothing: t.Optional[t.Mapping[str, t.Any]] = None
    counted: bool = True


@dataclass
class _Reading(t.Generic[_T]):
    """From the first page to the last. `rows` counts also what has no id or came twice; `pages` those with rows."""

    found: dict[str, _T] = field(default_factory=dict)
    rows: int = 0
    blank: int = 0
    pages: int = 0
    totals: set[t.Optional[int]] = field(default_factory=set)

    @property
    def distinct(self) -> bool:
        """No row was shown on one page and again on another."""
        return self.pages < 2 or self.rows == len(self.found) + self.blank

    @property
    def steady(self) -> bool:
        """One answer is of one moment. Several are as good as that when they all count the same.

        Without a count the end is an answer of its own, but for a page that is not full.
        """
        return len(self.totals) == 1 and (None not in self.totals or self.rows < PAGE)


class Pager:
    """Asks through `connection`, as often as `patience` says. Safe for several threads."""

    def __init__(self, connection: Calls, patience: Patience) -> None:
        self._connection = connection
        self._patience = patience
        self._counts_all: dict[str, bool] = {}  # action ► whether its total_count is of all that the account has

    def all(self, query: Query[_T], wanted: t.Collection[str] = ()) -> dict[str, _T]:
        """Id ► value. With `wanted` it may stop when these are found.

        Read again where rows came, went or moved between pages: until a reading shows nothing of that, until two
        agree, or, from a server that shuffles, until as many have been seen as it shows each time. Raises `Unreachable`
        where that does not happen, where pages never end, or where they are empty although more rows are counted.
        """
        before: _Reading[_T] = _Reading()
        seen: dict[str, _T] = {}
        for __ in range(_MOST_READINGS):
            reading = self._read(query, wanted)
            if _holds(reading.found, wanted) or (reading.distinct and reading.steady):
                return reading.found
            if reading.distinct and before.distinct and reading.found.keys() == before.found.keys():
                return reading.found
            same = (reading.rows, reading.totals) == (before.rows, before.totals)
            seen = {**(seen if same else {}), **reading.found}
            spare = len(seen) + reading.blank - reading.rows
            if spare == 0 and same and len(reading.totals) == 1:
                return seen
            if spare > 0:
                seen = reading.found  # as many came as went
            before = reading
            log.info("%s: rows moved between pages, reading all again", query.action)
        raise _wrong(query.action, f"gives other rows each time, {_MOST_READINGS} times over")

    def by_ids(self, query: Query[_T], id_list: str, ids: t.Sequence[str]) -> dict[str, _T]:
        """Rows of these ids. Some actions refuse the whole list for one unknown id: then it is found by halving."""
        found: dict[str, _T] = {}
        chunks = [list(ids[start : start + PAGE]) for start in range(0, len(ids), PAGE)]
        while chunks:
            chunk = chunks.pop(0)
            try:
                found.update(self.all(replace(query, params={**query.params, id_list: chunk}), chunk))
            except NotFound:
                half = len(chunk) // 2
                chunks = [part for part in (chunk[:half], chunk[half:]) if part and len(chunk) > 1] + chunks
        return found

    # -- inside --------------------------------------------------------------------------------------------------------

    def _read(self, query: Query[_T], wanted: t.Collection[str]) -> _Reading[_T]:
        reading: _Reading[_T] = _Reading()
        for __ in range(_MOST_PAGES):
            answer = self._page(query, reading.rows)
            rows, total = items.rows(answer, query.rows), items.number(answer, "total_count")
            for parsed in map(query.parse, rows):
                if parsed is None:
                    reading.blank += 1
                else:
                    reading.found[parsed[0]] = parsed[1]
            reading.rows += len(rows)
            reading.pages += bool(rows)
            reading.totals.add(total)
            if not rows or (total is not None and reading.rows >= total) or _holds(reading.found, wanted):
                return reading
        raise _wrong(query.action, "gives page after page and never ends")

    def _page(self, query: Query[_T], offset: int) -> dict[str, t.Any]:
        """The rows from `offset` on. A page that is empty, although more are counted, is asked for again."""
        answer = self._patience.read(query.action, lambda left: self._ask(query, offset, left))
        if _ends(query, offset, answer):
            return answer
        answer = self._patience.read(query.action, lambda left: self._ask(query, offset, left))
        if _ends(query, offset, answer) or self._counts_everything(query):
            return answer

        def insist(left: float) -> dict[str, t.Any]:
            found = self._ask(query, offset, left)
            if not _ends(query, offset, found):
                count = items.number(found, "total_count")
                raise _wrong(query.action, f"counts {count} rows, but gives none after the first {offset}")
            return found

        return self._patience.read(query.action, insist)

    def _counts_everything(self, query: Query[_T]) -> bool:
        """Whether `total_count` is of all that the account has, known from asking for what there is not."""
        if query.nothing is None:
            return False
        if query.action not in self._counts_all:
            none = replace(query, params=query.nothing)
            try:
                answer = self._patience.read(query.action, lambda left: self._ask(none, 0, left))
                self._counts_all[query.action] = not _ends(none, 0, answer)
            except (NotFound, Denied):
                self._counts_all[query.action] = False
        return self._counts_all[query.action]

    def _ask(self, query: Query[_T], offset: int, left: float) -> dict[str, t.Any]:
        return self._connection.call(query.action, {**query.params, "offset": offset, "limit": PAGE}, left)


def _ends(query: Query[_T], offset: int, answer: items.Item) -> bool:
    """Whether the page can be what it seems: it has rows, or there are none to be had."""
    total = items.number(answer, "total_count")
    return bool(items.rows(answer, query.rows)) or total is None or total <= offset or not query.counted


def _holds(found: t.Mapping[str, t.Any], wanted: t.Collection[str]) -> bool:
    return bool(wanted) and all(one in found for one in wanted)


def _wrong(action: str, what: str) -> Unreachable:
    error = Unreachable(f"{action} {what}", action=action, ret_code=0)
    with_message(error, "")
    return error
