# SPDX-License-Identifier: GPL-3.0-or-later
"""Bugs to plant: each breaks one safeguard of the product, and the model has to find it.

This is the one place that knows the insides of the product; a name that is no longer there is an error, not a no-op.
"""

from __future__ import annotations

import importlib
import typing as t
from dataclasses import dataclass, replace

from hostnic.errors import Denied, HostnicError
from hostnic.model import CloudNic, Intent, Nic
from hostnic.states import State


@dataclass(frozen=True)
class Mutation:
    """`plant` changes the running process for good."""

    plant: t.Callable[[], None]
    caught_by: tuple[str, ...]


def plant(name: str) -> None:
    MUTATIONS[name].plant()


def _swap(place: str, make: t.Callable[[t.Any], t.Any]) -> None:
    """`place`: "module:Class.function" or "module:function" beneath hostnic; `make` gets the original."""
    module_name, _, path = place.partition(":")
    owner: t.Any = importlib.import_module(f"hostnic.{module_name}")
    *parents, name = path.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    if not callable(vars(owner).get(name)):
        raise LookupError(f"hostnic.{place} is no function any more: this mutation has to follow it")
    setattr(owner, name, make(vars(owner)[name]))


def _skip_the_reread() -> None:
    """act._detach and _delete ask witness.destroyable: what the journal believes is taken for what the cloud says."""

    def make(original: t.Any) -> t.Any:
        def destroyable(parts: t.Any, nics: t.Sequence[Nic]) -> dict[str, CloudNic]:
            here = {nic.nic_id: nic.state is State.DRAINING for nic in nics}
            return {
                nic.nic_id: CloudNic(
                    nic.nic_id, "", nic.vxnet_id, nic.private_ip, "in-use" if here[nic.nic_id] else "available", ""
                )
                for nic in nics
            }

        return destroyable

    _swap("act:destroyable", make)


def _count_quarantine_as_free() -> None:
    """Pool._supply: a NIC that rests is handed out at once."""

    def make(original: t.Any) -> t.Any:
        def _supply(self: t.Any, place: t.Any) -> t.Any:
            settings, self.settings = self.settings, replace(self.settings, quarantine_min=0.0)
            try:
                return original(self, place)
            finally:
                self.settings = settings

        return _supply

    _swap("pool:Pool._supply", make)


def _forget_the_intent() -> None:
    """Table.apply, as Actor._create calls it: CreateNics is sent without a row in the journal."""

    def make(original: t.Any) -> t.Any:
        def apply(self: t.Any, moves: t.Any = (), put: t.Any = (), drop: t.Any = (), durable: bool = False) -> t.Any:
            rest = [record for record in put if not (isinstance(record, Intent) and record.action == "create")]
            return original(self, moves, rest, drop, durable)

        return apply

    _swap("table:Table.apply", make)


def _retry_create_blindly() -> None:
    """QingCloud.create_nics: sent again where the first answer was lost."""

    def make(original: t.Any) -> t.Any:
        def create_nics(self: t.Any, *args: t.Any, **kwargs: t.Any) -> t.Any:
            try:
                return original(self, *args, **kwargs)
            except HostnicError as error:
                if not error.ambiguous:
                    raise
                return original(self, *args, **kwargs)

        return create_nics

    _swap("cloud.qingcloud:QingCloud.create_nics", make)


def _trust_an_empty_page() -> None:
    """settle._unknown: one answer without a NIC is enough to forget it."""

    def make(original: t.Any) -> t.Any:
        def _unknown(nic: Nic, absent_for: float) -> t.Any:
            return original(nic, float("inf"))

        return _unknown

    _swap("settle:_unknown", make)


def _ignore_the_instance_proof() -> None:
    """Observer.prove: a machine whose links do not match goes on all the same."""

    def make(original: t.Any) -> t.Any:
        def prove(self: t.Any, links: t.Any) -> None:
            try:
                original(self, links)
            except Denied:
                self.foreign = 1

        return prove

    _swap("observe:Observer.prove", make)


def _adopt_early() -> None:
    """Adopter._free: a free NIC of our name is taken in when it is first seen."""

    def make(original: t.Any) -> t.Any:
        def _free(self: t.Any, cloud: CloudNic, known_for: float) -> None:
            original(self, cloud, float("inf"))

        return _free

    _swap("adopt:Adopter._free", make)


def _let_pods_start() -> None:
    """Pool.acquire: a drain refuses nobody."""
    _swap("pool:check_open", lambda original: lambda table: None)


MUTATIONS: t.Final[t.Mapping[str, Mutation]] = {
    "skip the re-read before delete": Mutation(_skip_the_reread, ("only_own_nics_are_touched",)),
    "count quarantine as free": Mutation(
        _count_quarantine_as_free, ("a_released_nic_rests", "a_released_address_is_flushed")
    ),
    "forget the intent": Mutation(_forget_the_intent, ("calls_are_journaled_first",)),
    "retry CreateNics blindly": Mutation(_retry_create_blindly, ("one_create_of_unknown_outcome",)),
    "trust an empty Describe page": Mutation(_trust_an_empty_page, ("nothing_is_forgotten_at_one_look",)),
    "ignore the instance proof": Mutation(_ignore_the_instance_proof, ("clone_never_writes",)),
    "let pods start on a drained node": Mutation(_let_pods_start, ("no_pod_starts_on_a_drained_node",)),
    "adopt too early": Mutation(_adopt_early, ("others_work_is_not_adopted_early",)),
}
