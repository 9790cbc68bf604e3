# SPDX-License-Identifier: GPL-3.0-or-later
"""What must hold: at every call of the cloud, at every write of the journal, after every operation, and in the end.

Each is a function that yields what is wrong; its name is the name of the invariant.
"""

from __future__ import annotations

import typing as t

from hostnic.model import GATEWAY, POOL, Intent, Lease, Nic, Record
from hostnic.states import SERVING, State
from tests.emulator.models import AVAILABLE, PRIMARY
from tests.emulator.models import Nic as CloudNic
from tests.model.cloudside import NODE, WRITES, Call
from tests.model.journal import key_of
from tests.model.pods import Pod, Stage

if t.TYPE_CHECKING:
    from tests.model.world import World

LIES_BELIEVED: t.Final = 2  # looks in a row that must show nothing before something counts as gone
ADOPT_AFTER: t.Final = 10.0  # s for which another program may be at work on a NIC that it has made under our name
JUST_TRIED: t.Final = 10.0  # s until a NIC for which a full instance had no place is marked
WINDOW: t.Final = 60.0  # s over which calls are counted

_INTENTS: t.Final = {"CreateNics": "create", "AttachNics": "attach", "DetachNics": "detach", "DeleteNics": "delete"}

Found = t.Iterator[str]


# -- at every call that the cloud gets; before it is carried out -----------------------------------------------------


def clone_never_writes(world: World, call: Call) -> Found:
    """A machine that carries another's instance id changes nothing in the cloud."""
    if call.who == "clone" and call.action in WRITES:
        yield f"{call.action} {_told(call)}"


def only_own_nics_are_touched(world: World, call: Call) -> Found:
    """What is not called ours, is primary, or belongs to another instance is neither detached, deleted nor changed.

    Excused is what the cloud itself has just shown as ours: nobody can look and act at once.
    """
    if call.who != "node" or call.action not in ("DetachNics", "DeleteNics", "ModifyNicAttributes"):
        return
    for nic in _existing(world, call):
        row, _ = world.looks.told.get(nic.nic_id, ({}, False))
        misled = row and row["nic_name"] in world.names and row["instance_id"] in ("", NODE)
        if not _is_ours(world, nic) and not misled:
            yield f"{call.action} of {_say(nic)}"


def only_own_nics_are_attached(world: World, call: Call) -> Found:
    """A NIC that was last seen under another name, or on another instance, is not attached."""
    if call.who == "node" and call.action == "AttachNics":
        for nic in _existing(world, call):
            row = world.looks.shown.get(nic.nic_id)
            if row and (row["nic_name"] not in world.names or row["instance_id"] not in ("", NODE)):
                yield f"AttachNics of {_say(nic)}"


def live_pods_keep_their_nics(world: World, call: Call) -> Found:
    """No NIC is detached or deleted whose link is in a living pod."""
    if call.who == "node" and call.action in ("DetachNics", "DeleteNics"):
        for nic in _existing(world, call):
            pod = world.pod_at(nic.nic_id)
            if pod:
                yield f"{call.action} of {_say(nic)} in the pod {pod.key}"


def calls_are_journaled_first(world: World, call: Call) -> Found:
    """Whatever makes, attaches, detaches or deletes NICs has an intent in the journal before it is sent."""
    if call.who != "node" or call.action not in _INTENTS:
        return
    intents = [intent for intent in world.agent.store.intents() if intent.action == _INTENTS[call.action]]
    if call.action == "CreateNics":
        purpose = world.purposes.get(call.params["nic_name"])
        if not any((one.vxnet_id, one.purpose) == (call.params["vxnet"], purpose) for one in intents):
            yield f"CreateNics in {call.params['vxnet']} without an intent"
    elif not any(set(call.items("nics")) <= set(one.nic_ids) for one in intents):
        yield f"{call.action} of {', '.join(call.items('nics'))} without an intent"


def one_create_of_unknown_outcome(world: World, call: Call) -> Found:
    """No second CreateNics is sent in a vxnet while the journal does not know what the first one made.

    Excused where somebody else makes NICs under our name there: nobody can tell which call made which.
    """
    if call.who != "node" or call.action != "CreateNics":
        return
    others = [world.cloud.nics[nic_id] for nic_id in world.others_made if nic_id in world.cloud.nics]
    if any(nic.vxnet_id == call.params["vxnet"] for nic in others):
        return
    kind = (call.params["vxnet"], call.params["nic_name"])
    for nic_id in sorted(world.unanswered.get(kind, ())):
        nic = world.cloud.nics.get(nic_id)
        if nic and _is_ours(world, nic) and world.looks.hidden(nic_id) < LIES_BELIEVED:
            yield f"CreateNics in {call.params['vxnet']} again, while {_say(nic)} is not known yet"


def calls_stay_under_the_rate(world: World, call: Call) -> Found:
    """In a minute there are no more calls than api-rate allows, and its burst after each start of the agent."""
    if call.who == "node":
        rate = world.agent.settings.api_rate
        begun = [at for at in world.bursts if at >= call.at - WINDOW]
        most = rate * WINDOW + max(1, round(rate)) * (1 + len(begun))
        if len(world.calls) > most:
            yield f"{len(world.calls)} calls in {WINDOW:.0f} s"


AT_A_CALL: t.Final = (
    clone_never_writes, only_own_nics_are_touched, only_own_nics_are_attached, live_pods_keep_their_nics,
    calls_are_journaled_first, one_create_of_unknown_outcome, calls_stay_under_the_rate,
)  # fmt: skip


# -- at every write of the journal; before it is there ---------------------------------------------------------------


def nothing_is_forgotten_at_one_look(world: World, put: t.Sequence[Record], drop: t.Sequence[Record]) -> Found:
    """A NIC leaves the journal when it is gone or another's, not because one answer lacks it.

    Excused is a NIC that was to be deleted.
    """
    for record in drop:
        nic = world.cloud.nics.get(record.nic_id) if isinstance(record, Nic) else None
        before = world.agent.store.rows.get(key_of(record))
        if nic is None or not isinstance(before, Nic) or before.state is State.DELETING:
            continue
        if (
            _is_ours(world, nic)
            and world.looks.hidden(nic.nic_id) < LIES_BELIEVED
            and not world.looks.misled(nic.nic_id)
        ):
            yield f"{_say(nic)} was {before.state.value}, and is dropped from the journal"


def others_work_is_not_adopted_early(world: World, put: t.Sequence[Record], drop: t.Sequence[Record]) -> Found:
    """A free NIC that somebody else makes under our name is not ours before it has lain there for a while."""
    asked = {intent.vxnet_id for intent in world.agent.store.intents() if intent.action == "create"}
    for record in put:
        if not isinstance(record, Nic) or record.state is not State.DETACHED:
            continue
        nic = world.cloud.nics.get(record.nic_id)
        new = key_of(record) not in world.agent.store.rows and record.nic_id in world.others_made
        if nic and new and nic.status == AVAILABLE and nic.vxnet_id not in asked:
            age = world.boot() - world.looks.first_shown.get(nic.nic_id, world.boot())
            if age < ADOPT_AFTER:
                yield f"{_say(nic)} is taken in {age:.1f} s after it was first seen"


AT_A_WRITE: t.Final = (nothing_is_forgotten_at_one_look, others_work_is_not_adopted_early)


# -- after every operation ---------------------------------------------------------------------------------------------


def no_nic_is_leased_twice(world: World) -> Found:
    """Each NIC has one lease at most."""
    seen: dict[str, Lease] = {}
    for lease in world.engine.table.leases():
        if lease.nic_id in seen:
            yield f"{lease.nic_id} is leased to {seen[lease.nic_id].attachment} and {lease.attachment}"
        seen[lease.nic_id] = lease


def a_pods_nic_is_nobody_elses(world: World) -> Found:
    """A NIC whose link is in a living pod is that pod's in the journal, unless the journal was lost or damaged."""
    for nic_id, pod in world.pods_nics():
        if nic_id not in world.forgotten:
            yield from _of_this_pod(world, nic_id, pod)


def a_running_pod_has_its_link(world: World) -> Found:
    """The link of a running pod's NIC stays in it until its DEL, unless somebody else took the NIC away."""
    for pod in world.pods.values():
        if pod.stage is Stage.RUNNING and not pod.robbed and world.kernel.pod_of(pod.nic_id) != pod.netns:
            link = world.kernel.links.get(pod.nic_id)
            yield f"{pod.nic_id} of {pod.key} is {f'in {link.place}' if link else 'nowhere'}"


def a_pod_has_its_nics_address(world: World) -> Found:
    """The address that a pod is configured with is its NIC's in the cloud."""
    for nic_id, pod in world.pods_nics():
        nic, configured = world.cloud.nics.get(nic_id), world.kernel.pods.get(nic_id)
        if nic and configured and configured.address.partition("/")[0] != nic.private_ip:
            yield f"{pod.key} has {configured.address}, its NIC {nic.private_ip}"


def what_we_make_is_called_ours(world: World) -> Found:
    """Every NIC that the node's CreateNics made can be found again by its name, until a person renames it."""
    for nic_id in world.made - world.renamed:
        nic = world.cloud.nics.get(nic_id)
        if nic and nic.nic_name not in world.names:
            yield _say(nic)


def what_serves_is_on_no_way_out(world: World) -> Found:
    """A NIC that pods have or get is not doomed, or it would be left out where NICs are counted."""
    for nic in world.engine.table.nics(*SERVING):
        if nic.doomed:
            yield f"{nic.nic_id} is {nic.state.value}, and doomed"


def journal_and_memory_agree(world: World) -> Found:
    """What the agent knows is what its journal says."""
    table, store = world.engine.table, world.agent.store
    for kind, known in ((Nic, table.nics()), (Lease, table.leases()), (Intent, table.intents())):
        if {key_of(record): record for record in known} != {key_of(record): record for record in store.of(kind)}:
            yield f"they differ in what is a {kind.__name__.lower()}"


AFTER_AN_OPERATION: t.Final = (
    no_nic_is_leased_twice, a_pods_nic_is_nobody_elses, a_running_pod_has_its_link, a_pod_has_its_nics_address,
    what_we_make_is_called_ours, what_serves_is_on_no_way_out, journal_and_memory_agree,
)  # fmt: skip


# -- once nothing has disturbed it for long enough -------------------------------------------------------------------


def nothing_is_under_way(world: World) -> Found:
    """Every NIC is ready, a pod's, kept, or a gateway.

    Excused is a gateway NIC that has no room: the instance is full, and no NIC of the pool is idle; and one that was
    made to try whether the instance takes more by now, and is marked to go.
    """
    table = world.engine.table
    full = len(world.cloud.attached_here()) >= world.cloud.limit() and not table.nics(State.READY)
    for nic in table.nics():
        if nic.state in (State.READY, State.IN_USE, State.GATEWAY, State.BROKEN) or nic.state.value == "HELD":
            continue
        tried = len(world.cloud.attached_here()) >= world.cloud.limit() and world.boot() - nic.since < JUST_TRIED
        if nic.state is State.DETACHED and (nic.marked or tried):
            continue
        if not (full and nic.purpose == GATEWAY and nic.state is State.DETACHED):
            yield f"{nic.nic_id} is {nic.state.value}{' (doomed)' if nic.doomed else ''}: {nic.note or 'no note'}"


def nothing_is_broken(world: World) -> Found:
    """What was broken works again, or was given back."""
    for nic in world.engine.table.nics(State.BROKEN):
        yield f"{nic.nic_id}: {nic.note or 'no note'}"


def no_intent_is_left(world: World) -> Found:
    """The outcome of every call is known."""
    for intent in world.engine.table.intents():
        yield f"{intent.action} of {', '.join(intent.nic_ids) or intent.vxnet_id}"


def the_pool_has_its_size(world: World) -> Found:
    """As many NICs are ready as the plan wants, at least as many as there is room for, and no more than pool-high."""
    if world.engine.orders.draining:
        return
    settings, table = world.agent.settings, world.engine.table
    reasons = world.engine.reconciler.explain()
    ready = [nic for nic in table.nics(State.READY) if nic.purpose == POOL]
    ours = len([nic for nic in table.nics() if nic.purpose == POOL]) - len(ready)
    others = len([nic for nic in world.cloud.attached_here() if not table.nic(nic.nic_id)])
    gateways = len([nic for nic in table.nics() if nic.purpose == GATEWAY])
    room = min(settings.max_nics, world.cloud.limit() - others - gateways) - ours
    if len(ready) < min(settings.pool_low, room):
        yield f"{len(ready)} ready of pool-low {settings.pool_low}, and there is room for {room}"
    if len(ready) + reasons["used"] < reasons["want"]:
        yield f"{len(ready)} ready and {reasons['used']} used of {reasons['want']} wanted"
    if len([nic for nic in ready if not nic.prewarmed]) > settings.pool_high:
        yield f"{len(ready)} ready, and pool-high is {settings.pool_high}"


def a_drained_pool_has_what_pods_have(world: World) -> Found:
    """Nothing else is left, in the journal or in the cloud, but a gateway NIC beside a pod."""
    if not world.engine.orders.draining:
        return
    table = world.engine.table
    pods = {nic.vxnet_id for nic in table.nics(State.IN_USE)}
    for nic in table.nics():
        if nic.state is not State.IN_USE and not (nic.state is State.GATEWAY and nic.vxnet_id in pods):
            yield f"{nic.nic_id} is {nic.state.value}: {nic.note or 'no note'}"


def no_order_is_left(world: World) -> Found:
    """What people have ordered is carried out, or forgotten where that is not possible."""
    orders = world.engine.orders
    for vxnet_id, size in orders.ordered().items():
        yield f"{size} free NICs in {vxnet_id or 'any vxnet'}"
    for nic_id in orders.unwanted():
        yield f"{nic_id} is unwanted"


def pods_are_known_again(world: World) -> Found:
    """After the journal was lost or damaged, what it says of living pods' NICs is true again, if it says anything."""
    for nic_id, pod in world.pods_nics():
        if nic_id in world.forgotten and not pod.robbed and world.engine.table.nic(nic_id):
            yield from _of_this_pod(world, nic_id, pod)


def nothing_is_leaked(world: World) -> Found:
    """The NICs of our name in the cloud are those of the journal, and the other way round.

    Excused are living pods' NICs whose journal was lost or that somebody has deleted, and another instance's.
    """
    known = {nic.nic_id: nic for nic in world.engine.table.nics()}
    for nic in world.cloud.named(*world.names):
        if nic.nic_id not in known and nic.instance_id in ("", NODE) and not world.pod_at(nic.nic_id):
            yield f"{_say(nic)} is not in the journal"
    for nic_id, record in known.items():
        if nic_id not in world.cloud.nics and record.state is not State.IN_USE:
            yield f"{nic_id} is {record.state.value} and not in the cloud"


def links_are_in_their_place(world: World) -> Found:
    """The links of ready NICs are parked, those of gateway NICs on the host."""
    for nic in world.engine.table.nics(State.READY, State.GATEWAY):
        link = world.kernel.links.get(nic.nic_id)
        if link is None or link.place != ("host" if nic.purpose == GATEWAY else "parking"):
            yield f"{nic.nic_id} is {nic.state.value} and {f'in {link.place}' if link else 'nowhere'}"


IN_THE_END: t.Final = (
    nothing_is_under_way, nothing_is_broken, no_intent_is_left, no_order_is_left, the_pool_has_its_size,
    a_drained_pool_has_what_pods_have, pods_are_known_again, nothing_is_leaked, links_are_in_their_place,
)  # fmt: skip


def _of_this_pod(world: World, nic_id: str, pod: Pod) -> Found:
    nic, lease = world.engine.table.nic(nic_id), world.engine.table.lease_of(nic_id)
    if nic is None:
        yield f"{nic_id} is in the pod {pod.key} and not in the journal"
    elif nic.state not in (State.RESERVED, State.IN_USE):
        yield f"{nic_id} is in the pod {pod.key}, and {nic.state.value}"
    elif lease is None or lease.container_id not in (pod.key.container_id, f"netns-{pod.netns}"):
        yield f"{nic_id} is in the pod {pod.key}, and {lease.attachment if lease else 'nobody'} has its lease"


# -- words -----------------------------------------------------------------------------------------------------------


def _is_ours(world: World, nic: CloudNic) -> bool:
    return nic.nic_name in world.names and nic.role != PRIMARY and nic.instance_id in ("", NODE)


def _existing(world: World, call: Call) -> list[CloudNic]:
    named = call.items("nics") or [call.params.get("nic", "")]
    return [world.cloud.nics[nic_id] for nic_id in named if nic_id in world.cloud.nics]


def _say(nic: CloudNic) -> str:
    return f"{nic.nic_id} ({nic.nic_name!r}, {nic.status}{f' on {nic.instance_id}' if nic.instance_id else ''})"


def _told(call: Call) -> str:
    return " ".join(call.items("nics")) or call.params.get("vxnet") or call.params.get("nic") or ""
