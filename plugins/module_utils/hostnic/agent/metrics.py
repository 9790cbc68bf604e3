# SPDX-License-Identifier: GPL-3.0-or-later
"""What the agent tells Prometheus: counted while it works, and read off the pool when somebody scrapes.

The only place that knows prometheus-client. Every name is in docs/metrics.md. Labels take few values, none of which a
pod or a caller can choose.
"""

from __future__ import annotations

import typing as t
from functools import lru_cache

from ..config import Settings
from ..engine import Engine
from ..errors import InvalidConfig
from ..model import POOL, Nic
from ..states import State
from ..telemetry import LEAKS, PHASES
from . import about

# s; runtimes wait 90 s or more for an ADD, the kernel takes 20 ms to move a NIC
_CALL_BUCKETS: t.Final = (0.01, 0.02, 0.03, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 90.0)
_PHASE_BUCKETS: t.Final = (0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 90.0)
_CLOUD_BUCKETS: t.Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SERIES: t.Final = 512
_VERBS: t.Final = ("ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
_SHOWN: t.Final = tuple(state for state in State if state is not State.GONE)

# In `explain` ► metric, help.
_REASONS: t.Final = (
    ("want", "want_nics", "NICs for pods that the pool wants to have, used ones among them."),
    ("cap", "cap_nics", "NICs for pods that this node may have at most."),
    ("warm", "warm_target_nics", "Free NICs that the pool wants to have ready."),
    ("used", "used_nics", "NICs that pods have or are about to get."),
    ("waiting", "waiting_requests", "ADDs that wait for a NIC."),
    ("soon", "soon_nics", "Resting NICs that a pod may have when there is nothing else."),
    ("inflight", "inflight_nics", "NICs on their way from the cloud."),
    ("grow", "grow_nics", "NICs that are about to be asked for."),
    ("shrink", "shrink_nics", "NICs that are about to be given back."),
    ("ordered", "ordered_nics", "Free NICs that a person has asked for and that are not all there yet."),
    ("foreign", "foreign_nics", "Attached NICs that are not the agent's, the primary one among them."),
    ("gateways", "gateway_places", "Places on the instance that gateway NICs take or need."),
    ("limit", "limit_nics", "NICs that the cloud attaches to this instance, as far as it is known."),
    ("rate", "arrivals_per_second", "Pods a second, 95th percentile of ten minutes: an input of the warm target."),
    ("lead_time", "lead_time_seconds", "From CreateNics to a link, 95th percentile: an input of the warm target."),
)


class Metrics:
    """A `Telemetry` that counts. Raises `InvalidConfig` where prometheus-client is missing."""

    wants_calls = True

    def __init__(self) -> None:
        try:
            import prometheus_client as prometheus
            from prometheus_client import exposition
        except ImportError as error:
            raise InvalidConfig(
                "the Python package prometheus-client is missing",
                remedy="install it, on nodes with the role qingagent",
                library="prometheus-client",
            ) from error
        prometheus.disable_created_metrics()  # type: ignore[no-untyped-call]
        self._families = prometheus.metrics_core
        self._registry = prometheus.CollectorRegistry()
        self._text = exposition.generate_latest
        self.content_type: str = exposition.CONTENT_TYPE_LATEST
        prometheus.ProcessCollector(registry=self._registry)
        self._calls = prometheus.Histogram(
            "qingcni_request_duration_seconds",
            "From the start of qingcni to the answer, by verb and outcome: ok, or the kind of the error.",
            ("verb", "outcome"),
            buckets=_CALL_BUCKETS,
            registry=self._registry,
        )
        self._phases = prometheus.Histogram(
            "qingcni_phase_duration_seconds",
            "What an ADD or a DEL spent its time with, by phase, and by whether the call succeeded.",
            ("verb", "phase", "outcome"),
            buckets=_PHASE_BUCKETS,
            registry=self._registry,
        )
        self._leaks = prometheus.Counter(
            "qingagent_leaks_found_total",
            "Found and mended: leases without a pod, NICs without a link, NICs that the journal does not know.",
            ("kind",),
            registry=self._registry,
        )
        self._cloud = prometheus.Histogram(
            "qingagent_cloud_request_duration_seconds",
            "Calls of the QingCloud API that were sent, by action and outcome: ok, or the kind of the error.",
            ("action", "outcome"),
            buckets=_CLOUD_BUCKETS,
            registry=self._registry,
        )
        # looking a label up takes longer than counting
        self._call_of = lru_cache(_SERIES)(self._calls.labels)
        self._phase_of = lru_cache(_SERIES)(self._phases.labels)
        self._cloud_of = lru_cache(_SERIES)(self._cloud.labels)
        for kind in LEAKS:
            self._leaks.labels(kind)
        for verb in ("ADD", "DEL"):
            self._calls.labels(verb, "ok")

    # -- told by the core ----------------------------------------------------------------------------------------------

    def called(self, verb: str, outcome: str, seconds: float, phases: t.Mapping[str, float]) -> None:
        self._call_of(verb if verb in _VERBS else "other", outcome).observe(seconds)
        known = PHASES.get(verb, ())
        result = "ok" if outcome == "ok" else "failed"
        for phase, spent in phases.items():
            if phase in known:
                self._phase_of(verb, phase, result).observe(spent)

    def leaked(self, kind: str) -> None:
        self._leaks.labels(kind).inc()

    def requested(self, action: str, seconds: float, outcome: str) -> None:
        """For `cloud.build.connect`: one request was sent and is over."""
        self._cloud_of(action, outcome).observe(seconds)

    # -- told to Prometheus --------------------------------------------------------------------------------------------

    def follow(self, engine: Engine, settings: t.Callable[[], Settings], instance_id: str) -> None:
        """Show this pool too, as it is at each scrape."""
        self._registry.register(_Pool(engine, settings, instance_id, self._families))

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return bytes(self._text(self._registry))


class _Pool:
    """A collector: nothing is kept between two scrapes."""

    def __init__(self, engine: Engine, settings: t.Callable[[], Settings], instance_id: str, families: t.Any) -> None:
        self._engine = engine
        self._settings = settings
        self._instance_id = instance_id
        self._families = families
        self._package = about.package()

    def collect(self) -> t.Iterator[t.Any]:
        engine = self._engine
        told = engine.reconciler.explain()
        yield from self._identity()
        yield from self._health(told)
        yield self._nics(engine.table.nics())
        yield self._gauge("qingagent_leases", "Attachments of pods that hold a NIC.", len(engine.table.leases()))
        settings = self._settings()
        yield self._gauge("qingagent_pool_low_nics", "pool-low: an input of the warm target.", settings.pool_low)
        yield self._gauge("qingagent_pool_high_nics", "pool-high: an input of the warm target.", settings.pool_high)
        for key, name, help_ in _REASONS:
            yield self._gauge(f"qingagent_pool_{name}", help_, told[key])
        steals = "NICs that were handed out before their rest was over."
        yield self._counter("qingagent_quarantine_steals", steals, {(): told["steals"]})
        yield from self._limits(told["cloud"]["limiter"])
        yield from self._breaker(told["cloud"]["breaker"])

    def _identity(self) -> t.Iterator[t.Any]:
        package = self._package
        labels = {
            "version": package["version"],
            "digest": package["digest"],
            "journal_schema": str(package["journal_schema"]),
            "protocol": str(package["protocol"]),
        }
        yield self._info("qingagent_build", "The package that runs.", labels)
        yield self._info(
            "qingagent_instance", "The instance that this agent serves.", {"instance_id": self._instance_id}
        )

    def _health(self, told: t.Mapping[str, t.Any]) -> t.Iterator[t.Any]:
        ready = self._engine.pool.unable() is None
        yield self._gauge("qingagent_ready", "Whether an ADD can be served now, from memory.", ready)
        yield self._gauge("qingagent_instance_proven", "Whether this machine was proven its instance.", told["proven"])
        yield self._gauge("qingagent_draining", "Whether this node is drained: no pod starts.", told["draining"])
        level = {(level,): self._engine.reconciler.level() == level for level in ("L0", "L1")}
        held = "Whether an operator holds the agent still: L0 changes nothing in the cloud, L1 gives nothing back."
        yield self._gauges("qingagent_degradation", held, ("level",), level)
        trouble = {(told["trouble"]["kind"],): 1} if told["trouble"] else {}
        yield self._gauges(
            "qingagent_trouble", "What keeps the pool from growing now, by kind of error.", ("kind",), trouble
        )
        blocked = {(vxnet_id,): 0 for vxnet_id in self._settings().vxnet}
        blocked.update({(block["vxnet"],): 1 for block in told["blocked"]})
        yield self._gauges("qingagent_vxnet_blocked", "Whether no NIC can be made there for now.", ("vxnet",), blocked)
        strangers = "NICs under our name that the last look has shown and that are not taken in yet."
        yield self._gauge("qingagent_stranger_nics", strangers, told["strangers"])
        age = {} if told["looked_ago"] is None else {(): told["looked_ago"]}
        yield self._gauges("qingagent_reconcile_age_seconds", "Since the cloud was last looked at in full.", (), age)

    def _nics(self, nics: t.Sequence[Nic]) -> t.Any:
        vxnets = sorted({*self._settings().vxnet, *(nic.vxnet_id for nic in nics if nic.purpose == POOL)})
        counts = {(state.value, vxnet_id): 0 for vxnet_id in vxnets for state in _SHOWN}
        for nic in nics:
            place = (nic.state.value, nic.vxnet_id)
            counts[place] = counts.get(place, 0) + 1
        return self._gauges("qingagent_nics", "The agent's NICs by state and vxnet.", ("state", "vxnet"), counts)

    def _limits(self, limiter: t.Mapping[str, t.Any]) -> t.Iterator[t.Any]:
        actions = limiter["actions"]

        def each(key: str) -> dict[tuple[str, ...], float]:
            return {(action,): bucket[key] for action, bucket in actions.items()}

        name = "qingagent_cloud_limiter"
        yield self._counter(f"{name}_wait_seconds", "Spent waiting for a call's turn.", each("waited"), ("action",))
        yield self._counter(f"{name}_calls", "Calls that got their turn.", each("calls"), ("action",))
        refused = "Calls that the API refused for coming too often."
        yield self._counter(f"{name}_refused", refused, each("refused"), ("action",))
        held_back = "Calls that were not sent, since their turn was too far away."
        yield self._counter(f"{name}_held_back", held_back, {(): limiter["held_back"]})
        rates = {("all",): limiter["rate"], **each("rate")}
        yield self._gauges(f"{name}_calls_per_second", "Calls a second that may be sent now.", ("action",), rates)
        yield self._gauge(f"{name}_pause_seconds", "For how long nothing is sent from now on.", limiter["pause"])

    def _breaker(self, breaker: t.Mapping[str, t.Any]) -> t.Iterator[t.Any]:
        states = {(state,): breaker["state"] == state for state in ("CLOSED", "OPEN", "HALF_OPEN")}
        what = "What becomes of the next call: sent, refused at once, or refused while one before it tries."
        yield self._gauges("qingagent_cloud_breaker_state", what, ("state",), states)
        yield self._gauge("qingagent_cloud_away_seconds", "For how long the API has not answered.", breaker["away_for"])

    # -- families ------------------------------------------------------------------------------------------------------

    def _gauge(self, name: str, help_: str, value: t.Any) -> t.Any:
        return self._gauges(name, help_, (), {(): value})

    def _gauges(self, name: str, help_: str, labels: t.Sequence[str], values: t.Mapping[t.Any, t.Any]) -> t.Any:
        return _filled(self._families.GaugeMetricFamily(name, help_, labels=labels), values)

    def _counter(self, name: str, help_: str, values: t.Mapping[t.Any, t.Any], labels: t.Sequence[str] = ()) -> t.Any:
        """Prometheus sees it with `_total` behind its name."""
        return _filled(self._families.CounterMetricFamily(name, help_, labels=labels), values)

    def _info(self, name: str, help_: str, labels: t.Mapping[str, str]) -> t.Any:
        return self._gauges(f"{name}_info", help_, tuple(labels), {tuple(labels.values()): 1})


def _filled(family: t.Any, values: t.Mapping[t.Any, t.Any]) -> t.Any:
    for labels, value in values.items():
        family.add_metric(labels, float(value))
    return family
