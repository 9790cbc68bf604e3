# SPDX-License-Identifier: GPL-3.0-or-later
"""All checks at once, each in a thread of its own, so that what hangs holds up neither the others nor the answer."""

from __future__ import annotations

import logging
import threading
import time
import typing as t

from ..errors import HostnicError
from .finding import UNCHECKED, Finding, Report, Seen, Unchecked, unchecked
from .patient import Patient
from .table import CHECKS, DEADLINE, Check

log = logging.getLogger("hostnic.doctor")


def examine(patient: Patient, checks: t.Sequence[Check] = CHECKS, deadline: float = DEADLINE) -> Report:
    """Over after `deadline` seconds at the latest; never raises."""
    until = time.monotonic() + deadline
    runs = [_Run(check, patient) for check in checks]
    report = Report(checks=[check.check_id for check in checks])
    for run in runs:
        for seen in run.seen(max(0.0, until - time.monotonic()), deadline):
            if seen.severity == UNCHECKED:
                report.unchecked.append(Unchecked(run.check.check_id, seen.what))
            else:
                report.findings.append(Finding(run.check.check_id, *seen))
    return report


class _Run:
    """Begins at once. Nobody ends a thread that hangs: it ends with the process."""

    def __init__(self, check: Check, patient: Patient) -> None:
        self.check = check
        self._patient = patient
        self._seen: list[Seen] = []
        self._thread = threading.Thread(target=self._look, name=check.check_id, daemon=True)
        self._thread.start()

    def seen(self, within: float, deadline: float) -> list[Seen]:
        self._thread.join(within)
        if not self._thread.is_alive():
            return self._seen
        return [self.check.late or unchecked(f"it gave no answer within {deadline:.0f} s")]

    def _look(self) -> None:
        seen: list[Seen] = []
        try:
            for one in self.check.run(self._patient):
                seen.append(one)
        except HostnicError as error:
            seen.append(unchecked(error.message))
        except OSError as error:
            seen.append(unchecked(f"{error.filename or 'something'}: {error.strerror}"))
        except Exception as error:
            log.debug("a defect in check %s", self.check.check_id, exc_info=True)
            seen.append(unchecked(f"a defect: {type(error).__name__}: {error}"))
        self._seen = seen
