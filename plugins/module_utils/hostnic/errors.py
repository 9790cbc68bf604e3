# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong, in words that say what a user can do. Functions raise; only the rim turns it into an exit."""

from __future__ import annotations

import typing as t

from . import redact


class HostnicError(Exception):
    """A sentence for a person, and facts for a program.

    `kind` names the error in logs, metrics and JSON; `transient` is true where trying again later may help without
    anyone changing anything; `ambiguous` is true where a request may have been carried out although it failed.
    `message` says what is wrong, and what to do where that is known by itself as `remedy`; `what` is the first half.
    """

    transient: t.ClassVar[bool] = False
    ambiguous: bool = False

    def __init__(self, what: str, *, ambiguous: bool = False, remedy: str = "", **details: t.Any) -> None:
        """What is secret stays out of it all: a sentence may quote what somebody has put into the wrong place."""
        self.what = redact.text(what)
        self.remedy = remedy
        self.message = f"{self.what}: {remedy}" if remedy else self.what
        super().__init__(self.message)
        self.ambiguous = ambiguous
        self.details: dict[str, t.Any] = {
            name: redact.text(one) if isinstance(one, str) else one for name, one in details.items()
        }

    @property
    def kind(self) -> str:
        return type(self).__name__

    def facts(self) -> dict[str, t.Any]:
        """JSON-ready, for programs: what it is, what it says, what the API said, and whether it may pass by itself."""
        said = {name: self.details[name] for name in ("action", "ret_code") if self.details.get(name) is not None}
        return {"kind": self.kind, "message": self.message, "transient": self.transient, **said}


class InvalidConfig(HostnicError):
    """A setting, a file or a network configuration that cannot work; the message names it and the remedy."""


class RateLimited(HostnicError):
    """The account called too often; every further call prolongs the penalty."""

    transient = True


class QuotaExceeded(HostnicError):
    """A quota of the account or the instance's NIC limit is used up."""


class VxnetFull(HostnicError):
    """The vxnet has no free address left."""


class Busy(HostnicError):
    """The cloud or the resource is busy with something else."""

    transient = True


class AddressHeld(Busy):
    """Another workload has that address; the details name it as `holder`."""


class Denied(HostnicError):
    """The key may not do this, or the resource is in a state that forbids it."""


class AuthFailed(HostnicError):
    """The access key is unknown, its signature wrong, or this machine's clock is off."""


class NotFound(HostnicError):
    """The cloud does not know the resource."""


class Unreachable(HostnicError):
    """No connection to the API, or an answer that is none."""

    transient = True


class Timeout(HostnicError):
    """The deadline passed before the outcome was known."""

    transient = True


class LinkFailed(HostnicError):
    """The kernel refused a change of a link, an address or a route."""


class PoolEmpty(HostnicError):
    """No NIC can be handed out now; the details say what the pool is waiting for."""

    transient = True
