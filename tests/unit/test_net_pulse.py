# SPDX-License-Identifier: GPL-3.0-or-later
"""A thread that wakes while somebody moves a link, on that one's processor, and never otherwise."""

from __future__ import annotations

import os
import threading
import typing as t
from functools import partial

import pytest

from hostnic.net import pulse
from hostnic.net.pulse import Pulse
from tests.support.cni import eventually
from tests.support.stirring import named, rests, wakings


@pytest.fixture
def one() -> t.Iterator[Pulse]:
    pulse = Pulse()
    yield pulse
    pulse.close()


def beats(count: int = 20) -> None:
    """Waits until it has beaten so often."""
    thread = named("pulse")
    before = wakings(thread)
    eventually(lambda: wakings(thread) >= before + count)


def runs_on(processor: int) -> bool:
    return os.sched_getaffinity(named("pulse")) == {processor}


def test_it_beats_until_the_last_has_moved(one: Pulse) -> None:
    with one.beating():
        with one.beating():
            beats()
        beats()
    rests(named("pulse"))
    with one.beating():
        beats()


def test_who_never_moves_has_no_thread(one: Pulse) -> None:
    assert "pulse" not in [thread.name for thread in threading.enumerate()]


def test_it_beats_where_the_link_is_moved_from(one: Pulse) -> None:
    allowed = os.sched_getaffinity(0)
    try:
        for processor in sorted(allowed):
            os.sched_setaffinity(0, {processor})
            with one.beating():
                eventually(partial(runs_on, processor))
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_processor_that_is_gone_is_no_reason_not_to(one: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "_getcpu", lambda: 1000)
    with one.beating():
        beats()


def test_a_system_without_threads_does_not_stop_a_move(one: Pulse, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(__: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refused)
        with one.beating():
            pass
    with one.beating():
        beats()
    rests(named("pulse"))


def test_a_move_that_fails_ends_it_too(one: Pulse) -> None:
    with pytest.raises(ValueError), one.beating():
        raise ValueError
    rests(named("pulse"))


def test_it_ends_when_it_is_closed(one: Pulse) -> None:
    with one.beating():
        pass
    one.close()
    assert "pulse" not in [thread.name for thread in threading.enumerate()]
