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


_ = State
EDGES: t.Final[tuple[Edge, ...]] = (
    # growing, and found
    Edge(None, _.DETACHED, "CreateNics answered", "cloud", "NIC in, create intent out"),
    Edge(None, _.DETACHED, "found under our name, free", "cloud", "NIC in, create intent counts down"),
    Edge(None, _.QUARANTINE, "found under our name, attached, with a link", "cloud + kernel", "NIC in"),
    Edge(None, _.GATEWAY, "found under the gateway name, with a link", "cloud + kernel", "NIC in"),
    Edge(None, _.IN_USE, "found under our name, in a pod", "cloud + kernel", "NIC in, lease in the name of the netns"),
    Edge(None, _.BROKEN, "found under our name, attached, its link nowhere for long", "cloud + kernel", "NIC in"),
    Edge(_.DETACHED, _.ATTACHING, "plan: attach", "journal", "NIC + attach intent, before AttachNics"),
    Edge(_.DETACHED, _.ATTACHING, "attached by someone else, its link is still to come", "cloud", "NIC"),
    Edge(_.DETACHED, _.READY, "attached by someone else, with a link", "cloud + kernel", "NIC"),
    Edge(_.DETACHED, _.GATEWAY, "attached by someone else, link configured on the host", "cloud + kernel", "NIC"),
    Edge(_.ATTACHING, _.READY, "link parked", "cloud + kernel", "NIC, intent out with its last NIC"),
    Edge(_.ATTACHING, _.GATEWAY, "link configured on the host", "cloud + kernel", "NIC, intent out with its last NIC"),
    Edge(_.ATTACHING, _.HELD, "link parked; its address is kept", "cloud + kernel", "NIC, intent out with the last"),
    Edge(_.DETACHED, _.HELD, "attached by someone else, with a link; its address is kept", "cloud + kernel", "NIC"),
    Edge(_.ATTACHING, _.DETACHED, "attach refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(_.ATTACHING, _.BROKEN, "attached, but no link came in time", "cloud + kernel", "NIC"),
    # serving
    Edge(_.READY, _.RESERVED, "ADD takes it", "journal", "NIC + lease"),
    Edge(_.QUARANTINE, _.RESERVED, "ADD takes it past quarantine-min", "journal", "NIC + lease"),
    Edge(_.HELD, _.RESERVED, "ADD of the workload that it is kept for", "journal", "NIC + lease"),
    Edge(_.RESERVED, _.IN_USE, "ADD done", "kernel", "NIC + lease with witnesses"),
    Edge(_.RESERVED, _.READY, "ADD failed before the NIC was in the pod", "kernel", "NIC, lease out"),
    Edge(_.RESERVED, _.QUARANTINE, "ADD failed after the NIC was in the pod", "kernel", "NIC, lease out"),
    Edge(_.IN_USE, _.QUARANTINE, "DEL, or its netns died and the link came back", "kernel", "NIC, lease out"),
    Edge(_.QUARANTINE, _.READY, "rested long enough", "clock", "NIC"),
    # fixed addresses
    Edge(_.IN_USE, _.HELD, "DEL, or its netns died; its address is kept", "kernel", "NIC, lease out"),
    Edge(_.RESERVED, _.HELD, "ADD failed; its address is kept", "kernel", "NIC, lease out"),
    Edge(_.HELD, _.QUARANTINE, "kept long enough, or released", "clock or a person", "NIC, workload out"),
    # shrinking
    Edge(_.READY, _.DRAINING, "plan: shrink, or make room for another vxnet", "journal", "NIC, doomed"),
    Edge(_.DRAINING, _.READY, "plan: wanted again before anything was sent", "journal", "NIC"),
    Edge(_.DRAINING, _.DETACHING, "plan: detach", "journal + cloud + kernel", "NIC + detach intent, before DetachNics"),
    Edge(_.DETACHING, _.DETACHED, "detached", "cloud", "NIC, intent out with its last NIC"),
    Edge(_.DETACHING, _.DRAINING, "detach refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(_.DETACHED, _.DRAINING, "doomed, but attached here after all", "cloud", "NIC"),
    Edge(_.DETACHED, _.DELETING, "plan: delete", "journal + cloud + kernel", "NIC + delete intent, before DeleteNics"),
    Edge(_.DELETING, _.DETACHED, "delete refused or failed", "cloud", "NIC, attempts + 1"),
    Edge(_.DELETING, _.GONE, "deleted", "cloud", "NIC out, intent out"),
    Edge(_.GATEWAY, _.DRAINING, "plan: nothing of ours is left in its vxnet", "journal", "NIC, doomed"),
    # taken away behind our back, and back again
    Edge(_.DETACHED, _.GONE, "unknown to the cloud for long, another instance's, or renamed", "cloud", "NIC out"),
    Edge(_.ATTACHING, _.GONE, "unknown to the cloud for long, or another instance's", "cloud, twice", "NIC out"),
    Edge(_.DETACHING, _.GONE, "unknown to the cloud for long, or another instance's", "cloud, twice", "NIC out"),
    Edge(_.DRAINING, _.GONE, "renamed in the cloud: not ours any more", "cloud", "NIC out"),
    Edge(_.READY, _.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(_.QUARANTINE, _.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(_.HELD, _.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(_.DRAINING, _.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(_.GATEWAY, _.BROKEN, "its link is gone", "kernel, twice", "NIC"),
    Edge(_.IN_USE, _.BROKEN, "its link is nowhere: a DEL, or two looks into every netns", "kernel", "NIC, lease out"),
    Edge(_.RESERVED, _.BROKEN, "its link is nowhere: a DEL, or two looks into every netns", "kernel", "NIC, lease out"),
    Edge(_.BROKEN, _.QUARANTINE, "link is back and cloud says attached here", "cloud + kernel", "NIC"),
    *(
        Edge(state, _.IN_USE, "its link was found in a pod, against a damaged journal", "kernel", "NIC + netns' lease")
        for state in (_.DETACHED, _.ATTACHING, _.READY, _.QUARANTINE, _.HELD, _.DRAINING, _.DETACHING, _.BROKEN)
    ),
    Edge(_.BROKEN, _.HELD, "link is back and cloud says attached here; its address is kept", "cloud + kernel", "NIC"),
    Edge(_.BROKEN, _.GATEWAY, "link configured on the host again", "cloud + kernel", "NIC"),
    Edge(_.BROKEN, _.DETACHED, "cloud says free", "cloud", "NIC"),
    Edge(_.BROKEN, _.DRAINING, "attached here, its link in no netns for long", "cloud + kernel", "NIC, doomed"),
    Edge(_.BROKEN, _.GONE, "unknown to the cloud for long, another instance's, or renamed", "cloud", "NIC out"),
)
del _

_ALLOWED: t.Final = frozenset((edge.source, edge.target) for edge in EDGES)


def check(source: t.Optional[State], target: State) -> None:
    """Raise `IllegalTransition` unless the table has this edge."""
    if (source, target) not in _ALLOWED:
        raise IllegalTransition(f"a NIC cannot go from {source.value if source else 'nothing'} to {target.value}")
