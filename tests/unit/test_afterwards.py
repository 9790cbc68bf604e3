# SPDX-License-Identifier: GPL-3.0-or-later
"""What waits until the caller has its answer, and what does not."""

from __future__ import annotations

import threading

import pytest

from hostnic import afterwards


def test_actions_wait_for_the_end_and_keep_their_order() -> None:
    done: list[str] = []
    with afterwards.gathered():
        afterwards.do(lambda: done.append("first"))
        afterwards.do(lambda: done.append("second"))
        done.append("answer")
    assert done == ["answer", "first", "second"]


def test_where_nobody_gathers_they_are_done_at_once() -> None:
    done: list[str] = []
    afterwards.do(lambda: done.append("now"))
    with afterwards.gathered():
        thread = threading.Thread(target=lambda: afterwards.do(lambda: done.append("other")))
        thread.start()
        thread.join()
    assert done == ["now", "other"]


def test_they_are_done_where_the_call_failed_as_well() -> None:
    done: list[str] = []
    with pytest.raises(ValueError, match="broken"), afterwards.gathered():
        afterwards.do(lambda: done.append("after"))
        raise ValueError("broken")
    assert done == ["after"]


def test_a_call_within_a_call_has_its_own() -> None:
    done: list[str] = []
    with afterwards.gathered():
        afterwards.do(lambda: done.append("outer"))
        with afterwards.gathered():
            afterwards.do(lambda: done.append("inner"))
        assert done == ["inner"]
    assert done == ["inner", "outer"]


def test_a_call_that_begins_to_wait_keeps_nothing_for_later() -> None:
    done: list[str] = []
    with afterwards.gathered():
        afterwards.do(lambda: done.append("before"))
        afterwards.now()
        assert done == ["before"]
        afterwards.do(lambda: done.append("after"))
        assert done == ["before"]
    afterwards.now()
    assert done == ["before", "after"]
