# SPDX-License-Identifier: GPL-3.0-or-later
"""Faults to order: what goes wrong, at which action, how many times."""

from __future__ import annotations

import dataclasses
import threading
import typing as t
from dataclasses import dataclass

from tests.emulator.errors import EmulatorError
from tests.emulator.models import DONE_WITH_FAILURE, FAILED, SUCCESSFUL

DELAY = "delay"
DROP_REPLY = "drop_reply"
HTTP_STATUS = "http_status"
RET_CODE = "ret_code"
JOB_FAILED = "job_failed"
JOB_PARTIAL = "job_partial"
JOB_STUCK = "job_stuck"
DESCRIBE_LAG = "describe_lag"
KINDS: t.Final = (
    DELAY, DROP_REPLY, HTTP_STATUS, RET_CODE, JOB_FAILED, JOB_PARTIAL, JOB_STUCK, DESCRIBE_LAG
)  # fmt: skip
_TERMINAL = (SUCCESSFUL, FAILED, DONE_WITH_FAILURE)
ANY_ACTION = "*"


@dataclass
class Fault:
    """``count`` times (None: for ever), after ``skip`` calls that are spared.

    delay, describe_lag: ``seconds``. http_status: ``status`` instead of a reply. ret_code: ``ret_code`` and
    ``message``. job_partial: ``done`` of the NICs succeed; ``job_status`` as given, else the setting's.
    ``when``: delay, drop_reply, http_status and ret_code strike ``before`` the work or ``after`` it.
    """

    action: str
    kind: str
    count: int | None = 1
    skip: int = 0
    seconds: float = 0.0
    status: int = 502
    ret_code: int = 5000
    message: str = "InternalError, internal error"
    done: int = 0
    job_status: str | None = None
    when: str | None = None
    fault_id: int = 0
    struck: int = 0

    @property
    def after(self) -> bool:
        """A dropped reply is dropped after the work unless said otherwise; the others strike before it."""
        return (self.when or ("after" if self.kind == DROP_REPLY else "before")) == "after"


class FaultBook:
    """Faults in the order in which they were ordered; of a kind the first that matches strikes."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._faults: list[Fault] = []
        self._last_id = 0

    def order(self, wanted: t.Mapping[str, t.Any]) -> Fault:
        """From the control API's object; raises EmulatorError for what means nothing."""
        fault = _parsed(wanted)
        with self._lock:
            self._last_id += 1
            fault.fault_id = self._last_id
            self._faults.append(fault)
        return fault

    def clear(self, fault_id: int | None = None) -> int:
        """One, or all of them; how many there were."""
        with self._lock:
            kept = [] if fault_id is None else [f for f in self._faults if f.fault_id != fault_id]
            cleared = len(self._faults) - len(kept)
            self._faults = kept
        return cleared

    def take(self, action: str, kind: str, *, after: bool | None = None) -> Fault | None:
        """The fault that strikes now, counted down; None mostly."""
        with self._lock:
            for fault in self._faults:
                if fault.kind != kind or fault.action not in (action, ANY_ACTION):
                    continue
                if after is not None and fault.after != after:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.struck += 1
                if fault.count is not None:
                    fault.count -= 1
                    if fault.count == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def to_list(self) -> list[dict[str, t.Any]]:
        with self._lock:
            return [dataclasses.asdict(fault) for fault in self._faults]


def _parsed(wanted: t.Mapping[str, t.Any]) -> Fault:
    names = {field.name for field in dataclasses.fields(Fault)} - {"fault_id", "struck"}
    unknown = sorted(set(wanted) - names)
    if unknown:
        raise EmulatorError(f"fault: unknown key {unknown[0]!r}, valid are {', '.join(sorted(names))}")
    if not isinstance(wanted.get("action"), str) or wanted.get("kind") not in KINDS:
        raise EmulatorError(f"a fault has an action (or *) and a kind of {', '.join(KINDS)}")
    fault = Fault(**wanted)
    if fault.count is not None and fault.count < 1:
        raise EmulatorError("fault: count is 1 or more, or null for ever")
    if fault.when not in (None, "before", "after"):
        raise EmulatorError("fault: when is before or after")
    if fault.job_status not in (None, *_TERMINAL):
        raise EmulatorError(f"fault: job_status is one of {', '.join(_TERMINAL)}")
    return fault
