# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's own threads: one talks to the cloud, one follows the kernel. A defect in a round does not end them."""

from __future__ import annotations

import logging
import threading
import typing as t

from ..engine import Engine
from ..errors import HostnicError
from ..reconcile import COALESCE

log = logging.getLogger("hostnic.agent")

LOOK_AGAIN: t.Final = 1.0  # s
GATHER: t.Final = 0.02  # s in which the calls that gave NICs back have their answers
KEEP: t.Final = 2.0  # s between looks at our rules
PAUSE_AFTER_DEFECT: t.Final = 30.0  # s


def reconcile(engine: Engine, after_round: t.Callable[[], None], stop: threading.Event) -> None:
    """Round after round until `stop`; demand gathers for a moment before it is acted upon."""
    while not stop.is_set():
        engine.wake.clear()
        try:
            pause = engine.reconciler.step()
            after_round()
        except HostnicError as error:
            log.warning("%s", error.message)
            pause = PAUSE_AFTER_DEFECT
        except Exception:
            log.exception("a defect in the reconciler")
            pause = PAUSE_AFTER_DEFECT
        if engine.wake.wait(pause):
            stop.wait(COALESCE)


def clean_rested(engine: Engine, stop: threading.Event) -> None:
    """Soon after a NIC has come to rest, whatever the reconciler waits for: until then no pod may have it."""
    while not stop.is_set():
        engine.table.rested.wait(LOOK_AGAIN)
        engine.table.rested.clear()
        if engine.pool.uncleaned():
            stop.wait(GATHER)
        try:
            engine.survey.clean()
        except Exception:
            log.exception("a defect in the cleaning of addresses")
        if engine.pool.uncleaned():  # the kernel refuses
            stop.wait(LOOK_AGAIN)


def keep_network(apply: t.Callable[[], None], stop: threading.Event) -> None:
    """Somebody else may flush our rules away at any time, and services stop without them."""
    pause = KEEP
    while not stop.wait(pause):
        pause = KEEP
        try:
            apply()
        except HostnicError as error:
            log.warning("%s", error.message)
            pause = PAUSE_AFTER_DEFECT
        except Exception:
            log.exception("a defect in the host's network")
            pause = PAUSE_AFTER_DEFECT


def follow_links(engine: Engine) -> t.Callable[[t.Optional[str]], None]:
    """The link monitor's callback: stray links go to parking at once, then the cloud is asked for its word."""

    def on_link(__: t.Optional[str]) -> None:
        try:
            engine.survey.run()
        except HostnicError as error:
            log.warning("%s", error.message)
        except Exception:
            log.exception("a defect in the survey")
        engine.wake.set()

    return on_link
