# SPDX-License-Identifier: GPL-3.0-or-later
"""What SIGHUP and `qingagent reload` do: read the configuration again, take what can change, tell what cannot."""

from __future__ import annotations

import logging
import threading
import typing as t
from dataclasses import Field, fields, replace

from ..config import Settings
from ..context import fields as with_fields

log = logging.getLogger("hostnic.agent")

Origins = t.Mapping[str, str]
Answer = dict[str, t.Any]

_AT_START: t.Final = "is read when the agent starts"
# Key ► why it cannot change under a running agent. Every other key can.
NEEDS_RESTART: t.Final[t.Mapping[str, str]] = {
    "QYAccessFilePath": f"the path {_AT_START}; what the file says counts from the next call on",
    "bindaddr": "its socket is opened when the agent starts",
    "manageaddr": "its socket is opened when the agent starts",
    "gatewayns": "NICs that stand would not be known by another name",
    "iface": "the host's routes and rules are made for it",
    "zone": "NICs of another zone are not this instance's",
    "policy": f"the order of the vxnets {_AT_START}",
    "vxnet": "the vxnets are looked at and proven when the agent starts",
    "reconcile-interval": f"the pace {_AT_START}",
    "attach-chunk": "what this cloud takes at once is learned from the start on",
    "statedir": "the journal is open",
    "rundir": "the socket is there",
}


class Reloader:
    """Of one running agent. Any thread may call.

    `read` reads the configuration as at the start; `apply` has the agent's parts take new settings; `reread_access`
    looks at the access file and says whether it has changed. `settings` and `origins` are those that count now.
    """

    def __init__(
        self,
        settings: Settings,
        origins: Origins,
        read: t.Callable[[], tuple[Settings, Origins]],
        apply: t.Callable[[Settings], None],
        reread_access: t.Callable[[], bool],
    ) -> None:
        self.settings = settings
        self.origins = dict(origins)
        self._read = read
        self._apply = apply
        self._reread_access = reread_access
        self._one_at_a_time = threading.Lock()

    def reload(self) -> Answer:
        """What was taken, what is as it was and what needs a restart. Raises `InvalidConfig`; nothing changes then."""
        with self._one_at_a_time:
            wanted, origins = self._read()
            differing = [one for one in fields(Settings) if getattr(wanted, one.name) != self._now(one.name)]
            taken = [one for one in differing if one.metadata["key"] not in NEEDS_RESTART]
            left = [one for one in differing if one.metadata["key"] in NEEDS_RESTART]
            settings = replace(self.settings, **{one.name: getattr(wanted, one.name) for one in taken})
            access = self._reread_access()
            answer: Answer = {
                "reloaded": [self._pair(one, "was", "now", wanted) for one in taken],
                "unchanged": [one.metadata["key"] for one in fields(Settings) if one not in differing],
                "needs_restart": [
                    {**self._pair(one, "now", "wanted", wanted), "why": NEEDS_RESTART[one.metadata["key"]]}
                    for one in left
                ],
                "access_file": "changed" if access else "unchanged",
            }
            if taken:
                self._apply(settings)
            self.settings = settings
            stay = {one.metadata["key"] for one in left}
            self.origins = {key: self.origins[key] if key in stay else origin for key, origin in origins.items()}
        _tell(answer)
        return answer

    def shown(self) -> Answer:
        """The settings that count now, by key: value, origin, and whether a reload can change it."""
        return {
            one.metadata["key"]: {
                "value": self._now(one.name),
                "origin": self.origins[one.metadata["key"]],
                "changes_by": "restart" if one.metadata["key"] in NEEDS_RESTART else "reload",
            }
            for one in fields(Settings)
        }

    def _now(self, name: str) -> t.Any:
        return getattr(self.settings, name)

    def _pair(self, one: Field[t.Any], before: str, after: str, wanted: Settings) -> Answer:
        return {"setting": one.metadata["key"], before: self._now(one.name), after: getattr(wanted, one.name)}


def _tell(answer: Answer) -> None:
    for one in answer["reloaded"]:
        log.info("reloaded", extra=with_fields(setting=one["setting"], was=one["was"], now=one["now"]))
    for one in answer["needs_restart"]:
        told = with_fields(setting=one["setting"], now=one["now"], wanted=one["wanted"])
        log.warning("not without a restart: %s", one["why"], extra=told)
    log.info(
        "the configuration was read again: %d settings changed, %d need a restart, %d are as they were; the access "
        "file is %s",
        *(len(answer[name]) for name in ("reloaded", "needs_restart", "unchanged")),
        answer["access_file"],
    )
