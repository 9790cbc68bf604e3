# SPDX-License-Identifier: GPL-3.0-or-later
"""The life of a NIC as a table. An edge that is not in it does not exist."""

from __future__ import annotations

import enum
import typing as t
from dataclasses import dataclass

from .errors import HostnicError


class State(str, enum.Enum):
    """Where a NIC of ours is in its life; GONE records are dropped from the journal."""

    DETACHED = "DETACHED"
    ATTACHING = "ATTACHING"
    READY = "READY"
    RESERVED = "RESERVED"
    IN_USE = "IN_USE"
    QUARANTINE = "QUARANTINE"
    DRAINING = "DRAINING"
    DETACHING = "DETACHING"
    DELETING = "DELETING"
    GONE = "GONE"
    GATEWAY = "GATEWAY"
    HELD = "HELD"
    BROKEN = "BROKEN"


# What is in these is of use to pods, and on no way out.
SERVING: t.Final = frozenset((State.READY, State.RESERVED, State.IN_USE, State.QUARANTINE, State.HELD, State.GATEWAY))

LEAVING: t.Final = (State.DRAINING, State.DETACHING, State.DELETING)


class IllegalTransition(HostnicError):
    """A defect of ours: the table has no such edge."""


@dataclass(frozen=True)
class Edge:
    """`trigger`: what makes it happen; `witness`: whose word it takes; `journal`: what is written with it."""

    source: t.Optional[State]
    target: State
    trigger: str
    witness: str
    journal: str


S = State
EDGES: t.Final[tuple[Edge, ...]] = (
    # growing, and found
    Edge(None, S.DETACHED, "CreateNics answered", "cloud", "NIC in, create intent out"),
    Edge(None, S.DETACHED, "found under our name, free", "cloud", "NIC in, create intent counts down"),
    Edge(None, S.QUARANTINE, "found under our name, attached, with a link", "cloud + kernel", "NIC in"),
    Edge(None, S.GATEWAY, "found under the gateway name, with a link", "cloud + kernel", "NIC in"),
    Edge(None, S.IN_USE, "found under our name, in a pod", "cloud + kernel", "NIC in, lease in the name of the netns"),
    Edge(None, S.BROKEN, "found under our name, attached, its link nowhere for long", "cloud + kernel", "NIC in"),
    Edge(S.DETACHED, S.ATTACHING, "plan: attach", "journal", "NIC + attach intent, before AttachNics"),
    Edge(S.DETACHED, S.ATTACHING, "attached by someone else, its link is still to come", "cloud", "NIC"),
    Edge(S.DETACHED, S.READY, "attached by someone else, with a link", "cloud + kernel", "NIC"),
    Edge(S.DETACHED, S.GATEWAY, "attached by someone else, link configured on the host", "cloud + kernel", "NIC"),
    Edge(S.ATTACHING, S.READY, "link parked", "cloud + kernel", "NIC, intent out with its last NIC"),
    Edge(S.ATTACHING, S.GATEWAY, "link configured on the host", "cloud + kernel", "NIC, intent out with its last NIC"),
    Edge(S.ATTACHING, S.HELD, "link parked; its address is kept", "cloud + kernel", "NIC, intent out with the last"),
    Edge(S.DETACHED, S.HELD, "attached by someone else, with a link; its address is kept", "cloud + kernel", "NIC"),
    Edge(S.ATTACHING, S.DETACHED, "attach refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(S.ATTACHING, S.BROKEN, "attached, but no link came in time", "cloud + kernel", "NIC"),
    # serving
    Edge(S.READY, S.RESERVED, "ADD takes it", "journal", "NIC + lease"),
    Edge(S.QUARANTINE, S.RESERVED, "ADD takes it past quarantine-min", "journal", "NIC + lease"),
    Edge(S.HELD, S.RESERVED, "ADD of the workload that it is kept for", "journal", "NIC + lease"),
    Edge(S.RESERVED, S.IN_USE, "ADD done", "kernel", "NIC + lease with witnesses"),
    Edge(S.RESERVED, S.READY, "ADD failed before the NIC was in the pod", "kernel", "NIC, lease out"),
    Edge(S.RESERVED, S.QUARANTINE, "ADD failed after the NIC was in the pod", "kernel", "NIC, lease out"),
    Edge(S.IN_USE, S.QUARANTINE, "DEL, or its netns died and the link came back", "kernel", "NIC, lease out"),
    Edge(S.QUARANTINE, S.READY, "rested long enough", "clock", "NIC"),
    # fixed addresses
    Edge(S.IN_USE, S.HELD, "DEL, or its netns died; its address is kept", "kernel", "NIC, lease out"),
    Edge(S.RESERVED, S.HELD, "ADD failed; its address is kept", "kernel", "NIC, lease out"),
    Edge(S.HELD, S.QUARANTINE, "kept long enough, or released", "clock or a person", "NIC, workload out"),
    # shrinking
    Edge(S.READY, S.DRAINING, "plan: shrink, or make room for another vxnet", "journal", "NIC, doomed"),
    Edge(S.DRAINING, S.READY, "plan: wanted again before anything was sent", "journal", "NIC"),
    Edge(S.DRAINING, S.DETACHING, "plan: detach", "journal + cloud + kernel", "NIC + detach intent, before DetachNics"),
    Edge(S.DETACHING, S.DETACHED, "detached", "cloud", "NIC, intent out with its last NIC"),
    Edge(S.DETACHING, S.DRAINING, "detach refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(S.DETACHED, S.DRAINING, "doomed, but attached here after all", "cloud", "NIC"),
    Edge(S.DETACHED, S.DELETING, "plan: delete", "journal + cloud + kernel", "NIC + delete intent, before DeleteNics"),
    Edge(S.DELETING, S.DETACHED, "delete refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(S.DELETING, S.GONE, "deleted", "cloud", "NIC out, intent out"),
    Edge(S.GATEWAY, S.DRAINING, "plan: nothing of ours is left in its vxnet", "journal", "NIC, doomed"),
    # taken away behind our back, and back again
    Edge(S.DETACHED, S.GONE, "unknown to the cloud for long, another instance's, or renamed", "cloud", "NIC out"),
    Edge(S.ATTACHING, S.GONE, "unknown to the cloud for long, or another instance's", "cloud, twice", "NIC out"),
    Edge(S.DETACHING, S.GONE, "unknown to the cloud for long, or another instance's", "cloud, twice", "NIC out"),
    Edge(S.DRAINING, S.GONE, "renamed in the cloud: not ours any more", "cloud", "NIC out"),
    Edge(S.READY, S.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(S.QUARANTINE, S.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(S.HELD, S.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(S.DRAINING, S.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(S.GATEWAY, S.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(S.IN_USE, S.BROKEN, "its link is nowhere: a DEL, or two looks into every netns", "kernel", "NIC, lease out"),
    Edge(S.RESERVED, S.BROKEN, "its link is nowhere: a DEL, or two looks into every netns", "kernel", "NIC, lease out"),
    Edge(S.BROKEN, S.QUARANTINE, "link is back and cloud says attached here", "cloud + kernel", "NIC"),
    *(
        Edge(state, S.IN_USE, "its link was found in a pod, against a damaged journal", "kernel", "NIC + netns' lease")
        for state in (S.DETACHED, S.ATTACHING, S.READY, S.QUARANTINE, S.HELD, S.DRAINING, S.DETACHING, S.BROKEN)
    ),
    Edge(S.BROKEN, S.HELD, "link is back and cloud says attached here; its address is kept", "cloud + kernel", "NIC"),
    Edge(S.BROKEN, S.GATEWAY, "link configured on the host again", "cloud + kernel", "NIC"),
    Edge(S.BROKEN, S.DETACHED, "cloud says free", "cloud", "NIC"),
    Edge(S.BROKEN, S.DRAINING, "attached here, its link in no netns for long", "cloud + kernel", "NIC, doomed"),
    Edge(S.BROKEN, S.GONE, "unknown to the cloud for long, another instance's, or renamed", "cloud", "NIC out"),
)
del S

_ALLOWED: t.Final = frozenset((edge.source, edge.target) for edge in EDGES)


def check(source: t.Optional[State], target: State) -> None:
    """Raise `IllegalTransition` unless the table has this edge."""
    if (source, target) not in _ALLOWED:
        raise IllegalTransition(f"a NIC cannot go from {source.value if source else 'nothing'} to {target.value}")
