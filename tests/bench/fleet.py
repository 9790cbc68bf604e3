# SPDX-License-Identifier: GPL-3.0-or-later
"""A thousand agents that do not know each other, and one account that may call fifty times a second.

What runs: of each node the agent's own loop, engine, plan, limiter, breaker and client, each call over a socket of its
own to one emulator, in the time of `hours`; see `account` for what is left out. All start within one second (`SKEW`)
with empty journals, and have 40 vxnets to choose from, as they stand in a roll-out of one play. The emulator refuses
the whole account with 2500 for its penalty of 30 s once more than 50 calls a second come than its bucket of 20 holds;
answers take 0.1 s. Settings are the shipped ones but for `api-rate`: what the role gives an agent of 1,000 where
`qingagent_account_rate` is 50/s. Which is all that an agent knows of the others. The quick run has a fifth of the nodes
and of the rate.

`fleet-warm` is when the last pool has `pool-low` NICs ready, over what the limit alone takes: the calls that `LEAST`
lists for each node, at 50 a second without a gap. They are the fewest there can be: lists hold more than a pool, so one
create and one attach do, and no rule of the API lets two instances share an attach. `writes_only` in the notes is the
same over the two writes alone, which an agent could only send that neither proves whose instance it is on, nor knows
the network of the pods, nor waits for the cloud's word that a NIC is attached. `fleet-restart` is when all have proven
their instance and looked at the cloud again, over one call for each at that rate; pods are served from the journal
before that.

Not shown: an account whose budget nobody has told the role of (`untold` in raw: as many as a tenth of the fleet, each
with the default of 5/s), real clouds' rules for the penalty, and what a kernel's links cost.
"""

from __future__ import annotations

import logging
import random
import tempfile
import typing as t
from collections import Counter
from pathlib import Path

from hostnic.config import Settings
from tests.bench import onebyone
from tests.bench.account import ZONE, Account, Agent, Called
from tests.bench.figures import Figure, Measured, Setting, Spread

SKEW: t.Final = 1.0  # s within which all start
RATE: t.Final = 50.0  # calls a second
NODES: t.Final = 1000
VXNETS: t.Final = 40
SHARE: t.Final = 0.82  # of the account's budget that the role gives out: roles/qingagent/vars/main.yml
LEAST: t.Final = (
    "DescribeNics",  # of the instance: nothing is written before it is proven whose it is
    "DescribeVxnets",  # the network and gateway that pods are given
    "CreateNics",
    "AttachNics",
    "DescribeNics",  # the cloud's word that they are attached
)
WRITES: t.Final = 2
GIVE_UP: t.Final = 900.0  # s
CALM: t.Final = 240.0  # s from the last pool's being warm to what counts as at rest
REST: t.Final = 300.0  # s at rest
GRACE: t.Final = 60.0  # s from the start in which agents may learn by being refused
_SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108


class Fleet:
    """So many agents of one account."""

    def __init__(self, nodes: int, rate: float, api_rate: float, directory: Path, seed: int) -> None:
        self._dice = random.Random(seed)
        limits = {"rate_per_second": rate, "rate_scope": "account"}
        self.account = Account(nodes, max(2, nodes * VXNETS // NODES), limits, directory, seed)
        settings = Settings(
            zone=ZONE, access_file=str(self.account.access), vxnet=self.account.vxnets, api_rate=api_rate
        )  # fmt: skip
        dice = [random.Random(self._dice.getrandbits(64)) for __ in self.account.instances]
        self.agents = [Agent(self.account, one, settings, own) for one, own in zip(self.account.instances, dice)]

    def start(self) -> None:
        """All of them, those that run are killed first."""
        for agent in self.agents:
            agent.kill()
            self.account.hours.at(self.account.hours.now() + SKEW * self._dice.random(), agent.start)

    def run(self, seconds: float, done: t.Callable[[Agent], bool] = lambda agent: False) -> bool:
        """Until all are `done`, no longer than that; whether they are."""
        end = self.account.elapsed() + seconds
        lacking = list(self.agents)
        while lacking and self.account.elapsed() < end:
            self.account.hours.run(self.account.hours.now() + min(1.0, end - self.account.elapsed()))
            lacking = [agent for agent in lacking if not done(agent)]
        return not lacking

    def since(self, moment: float) -> list[Called]:
        return [call for call in self.account.calls if call.moment >= moment]


def measure(setting: Setting) -> Measured:
    nodes = NODES // 5 if setting.quick else NODES
    rate = RATE * nodes / NODES
    seed = setting.dice.getrandbits(32)
    logging.getLogger("hostnic").setLevel(logging.CRITICAL)  # a thousand agents say a lot
    with tempfile.TemporaryDirectory(dir=_SCRATCH) as scratch:
        each = onebyone.make(Path(scratch), 5).calls
        fleet = Fleet(nodes, rate, round(SHARE * rate / nodes, 3), Path(scratch), seed)
        try:
            found = _warming(setting, fleet, rate, each) + _resting(setting, fleet) + _restarting(setting, fleet, rate)
        finally:
            fleet.account.close()
        untold = _untold(setting, nodes // 10, rate / 10, Path(scratch), seed)
    figures, curves, notes = zip(*found)
    raw = {name: value for curve in curves for name, value in curve.items()}
    told = {name: value for note in notes for name, value in note.items()}
    told.update(seed=seed, nodes=nodes, calls_a_second=rate, least=list(LEAST))
    raw.update(calls_a_second=rate, untold=untold)
    return Measured(tuple(one for some in figures for one in some), raw, f"3 x {nodes}", told)


_Found = tuple[tuple[Figure, ...], dict[str, t.Any], dict[str, t.Any]]


def _warming(setting: Setting, fleet: Fleet, rate: float, one_by_one: t.Sequence[int]) -> list[_Found]:
    nodes = len(fleet.agents)
    fleet.start()
    if not fleet.run(GIVE_UP, lambda agent: agent.warm_at is not None):
        setting.tell(f"fleet: not all pools are warm after {GIVE_UP:.0f} s")
    warm = [agent.warm_at if agent.warm_at is not None else GIVE_UP for agent in fleet.agents]
    last, floor = max(warm), nodes * len(LEAST) / rate
    calls = [call for call in fleet.account.calls if call.moment <= last]
    late = [call for call in calls if call.moment >= GRACE]
    rejected = sum(call.rejected for call in late)
    nics = sum(agent.settings.pool_low for agent in fleet.agents)
    setting.tell(f"fleet: {nodes} warm after {last:.1f} s ({floor:.1f} s are needed), {len(calls)} calls")
    by_second = _by_second(calls, last)
    figures = (
        Figure("fleet-warm", last / floor, nodes, Spread.of(warm, "s"), Spread.of([floor], "s")),
        Figure(
            "fleet-rejected", rejected / max(1, len(late)), len(late),
            Spread.of([float(row[1]) for row in by_second[int(GRACE) :]], "calls/s"),
            Spread.of([float(row[0]) for row in by_second[int(GRACE) :]], "calls/s"),
        ),
        Figure(
            "fleet-calls", len(calls) / nics / (sum(one_by_one) / len(one_by_one)), nics,
            Spread.of([len(calls) / nics], "calls"), Spread.of([float(one) for one in one_by_one], "calls"),
        ),
    )  # fmt: skip
    curves = {"warm_after": [round(one, 1) for one in sorted(warm)], "warming_calls_and_rejected": by_second}
    notes = {
        "warm_after": round(last, 1),
        "calls": dict(Counter(call.action for call in calls)),
        "rejected": sum(call.rejected for call in calls),
        "writes_only": round(last / (nodes * WRITES / rate), 2),
    }
    return [(figures, curves, notes)]


def _resting(setting: Setting, fleet: Fleet) -> list[_Found]:
    nodes = len(fleet.agents)
    fleet.run(CALM)
    began = fleet.account.elapsed()
    fleet.run(REST)
    calls = fleet.since(began)
    minutes = Counter(int((call.moment - began) // 60) for call in calls)
    rates = [minutes[number] / nodes for number in range(int(REST // 60))]
    setting.tell(f"fleet: at rest {sum(rates) / len(rates):.2f} calls for each node and minute")
    figure = Figure(
        "fleet-steady", sum(rates) / len(rates), len(rates),
        Spread.of(rates, "calls/min"), Spread.of([1.0], "calls/min"),
    )  # fmt: skip
    rejected = sum(call.rejected for call in calls)
    return [((figure,), {"rest_calls_and_rejected": _by_second(calls, REST, began)}, {"rest_rejected": rejected})]


def _restarting(setting: Setting, fleet: Fleet, rate: float) -> list[_Found]:
    nodes, began = len(fleet.agents), fleet.account.elapsed()
    fleet.start()
    fleet.run(GIVE_UP, lambda agent: agent.up_at is not None)
    up = [agent.up_at - began if agent.up_at is not None else GIVE_UP for agent in fleet.agents]
    fleet.run(GRACE)  # what they do next must not be too much either
    calls = fleet.since(began)
    setting.tell(f"fleet: all are up again {max(up):.1f} s after a restart of all")
    figure = Figure("fleet-restart", max(up) * rate / nodes, nodes, Spread.of(up, "s"), Spread.of([nodes / rate], "s"))
    curves = {
        "up_after": [round(one, 1) for one in sorted(up)],
        "restart_calls_and_rejected": _by_second(calls, fleet.account.elapsed() - began, began),
    }
    return [((figure,), curves, {"restart_rejected": sum(call.rejected for call in calls)})]


def _untold(setting: Setting, nodes: int, rate: float, directory: Path, seed: int) -> dict[str, t.Any]:
    """A tenth of the fleet and of the account's rate, where each agent has the default rate: far more than there is."""
    fleet = Fleet(nodes, rate, Settings().api_rate, directory, seed)
    try:
        fleet.start()
        fleet.run(GIVE_UP, lambda agent: agent.warm_at is not None)
        warm = [agent.warm_at for agent in fleet.agents if agent.warm_at is not None]
        calls = fleet.account.calls
        last = max(warm, default=0.0)
        setting.tell(f"fleet: untold of the budget, {len(warm)} of {nodes} are warm after {last:.0f} s")
        return {
            "nodes": nodes,
            "calls_a_second": rate,
            "warm_after": [round(one, 1) for one in sorted(warm)],
            "calls": len(calls),
            "rejected": sum(call.rejected for call in calls),
            "calls_and_rejected": _by_second(calls, fleet.account.elapsed()),
        }
    finally:
        fleet.account.close()


def _by_second(calls: t.Iterable[Called], seconds: float, began: float = 0.0) -> list[list[int]]:
    """[calls, rejected ones among them] of each second."""
    calls = list(calls)
    every = Counter(int(call.moment - began) for call in calls)
    rejected = Counter(int(call.moment - began) for call in calls if call.rejected)
    return [[every[second], rejected[second]] for second in range(int(seconds) + 1)]
