# SPDX-License-Identifier: GPL-3.0-or-later
"""The rim of CNI: a request comes in, an answer goes out, whatever happens in between."""

from __future__ import annotations

import contextlib
import functools
import json
import logging
import typing as t

from .. import afterwards, context, redact, telemetry
from ..errors import HostnicError
from ..model import pod_of
from ..ports import Clock
from ..telemetry import SILENCE, Telemetry
from ..wire import Answer, Request
from . import keys, loglevel, netconf, netns, skel, spec, wishes
from .locks import HungUp, go_on
from .netns import Netns
from .ports import Cancelled
from .skel import Invocation
from .spec import CniError
from .verbs import Verbs, Wait

log = logging.getLogger("hostnic.cni")

# s; what was asked for longer ago has not waited all the time: a DEL from the spool
_LONGEST_QUEUE: t.Final = 120.0


class Plugin:
    """Carries out CNI calls; `bindaddr` is what a configuration's args.BindAddr must name.

    `ours`: the network namespaces that are no pod's.
    """

    def __init__(
        self,
        verbs: Verbs,
        bindaddr: str,
        clock: Clock,
        ours: t.Callable[[], t.Collection[netns.Identity]],
        listener: Telemetry = SILENCE,
    ) -> None:
        self._bindaddr = bindaddr
        self._clock = clock
        self._ours = ours
        self._listener = listener
        self._actions = verbs
        self._verbs: dict[str, t.Callable[[Invocation, Request, t.Optional[int], Wait], str]] = {
            "ADD": self._add,
            "DEL": self._delete,
            "CHECK": self._check,
            "GC": self._collect,
            "STATUS": self._status,
        }

    def handle(self, request: Request, descriptor: t.Optional[int], cancelled: Cancelled) -> Answer:
        """Never raises. `descriptor`: the pod's netns, borrowed for the time of the call."""
        with context.about(request=request.request_id, pod=_pod(request)):
            return self._handle(request, descriptor, cancelled)

    def _handle(self, request: Request, descriptor: t.Optional[int], cancelled: Cancelled) -> Answer:
        started = self._clock()
        if not self._listener.wants_calls:
            return self._handled(request, descriptor, cancelled, started)[0]
        asked = request.asked_at if 0.0 <= started - request.asked_at <= _LONGEST_QUEUE else started
        with telemetry.timed(self._clock, asked) as phases:
            answer, outcome = self._handled(request, descriptor, cancelled, started)
        afterwards.do(lambda: self._listener.called(request.verb, outcome, sum(phases.values()), phases))
        return answer

    def _handled(
        self, request: Request, descriptor: t.Optional[int], cancelled: Cancelled, started: float
    ) -> tuple[Answer, str]:
        """And "ok", or the kind of what went wrong."""
        who = _who(request)
        with contextlib.ExitStack() as told:
            try:
                if request.verb == skel.VERSION:
                    return Answer(request.request_id, 0, _version(request.stdin)), "ok"
                call = skel.validate(request.env, request.stdin)
                go_on(request.deadline, self._clock, cancelled, "the request waited for its turn")
                told.enter_context(loglevel.during(_log_level(call)))
                stdout = self._verbs[call.verb](call, request, descriptor, Wait(request.deadline, cancelled))
            except HungUp as error:
                afterwards.now()
                log.info("%s: %s", who, error)
                return refusal(request.request_id, error, _spoken(request.stdin)), error.kind
            except HostnicError as error:
                answer = refusal(request.request_id, error, _spoken(request.stdin))
                afterwards.now()
                log.warning("%s failed with code %d (%s): %s", who, spec.code_of(error), error.kind, error)
                return answer, error.kind
            except Exception as error:
                afterwards.now()
                log.exception("%s: a defect", who)
                return refusal(request.request_id, defect(error), _spoken(request.stdin)), "defect"
            _done(who, (self._clock() - started) * 1000, _trace(request, started))
            return Answer(request.request_id, 0, stdout), "ok"

    def _add(self, call: Invocation, request: Request, descriptor: t.Optional[int], wait: Wait) -> str:
        wished = tuple((name, call.args[name]) for name in wishes.ARGS if name in call.args)
        conf, strange = _read(request.stdin, self._bindaddr, wished)
        if strange:
            log.info("%s: its configuration has keys that mean nothing to qingcni: %s", call.key, ascii(strange))
        inside = self._inside(call, request, descriptor)
        attached = self._actions.add(call, conf, inside, wait)
        return json.dumps(spec.result(call.version, attached, conf.previous))

    def _check(self, call: Invocation, request: Request, descriptor: t.Optional[int], wait: Wait) -> str:
        conf = netconf.parse(call.config, self._bindaddr, call.args)
        if conf.previous is None:
            raise CniError(spec.BAD_CONFIG, "prevResult: the result of the ADD is wanted for CHECK")
        self._actions.check(call, conf, self._inside(call, request, descriptor), wait)
        return ""

    def _collect(self, call: Invocation, request: Request, __: t.Optional[int], wait: Wait) -> str:
        self._actions.collect(call.network, netconf.valid_attachments(call.config), request.asked_at, wait)
        return ""

    def _status(self, call: Invocation, _request: Request, _netns: t.Optional[int], _wait: Wait) -> str:
        self._actions.status(netconf.parse(call.config, self._bindaddr))
        return ""

    def _inside(self, call: Invocation, request: Request, descriptor: t.Optional[int]) -> Netns:
        """The pod's netns. Raises `CniError` (8)."""
        if descriptor is None:
            reason = request.netns_error or "no descriptor came with the request"
            raise CniError(spec.BAD_NETNS, f"CNI_NETNS {ascii(call.netns)} cannot be opened: {reason}")
        return Netns(descriptor, netns.inode(descriptor, self._ours()))

    def _delete(self, call: Invocation, request: Request, descriptor: t.Optional[int], wait: Wait) -> str:
        inside = None
        try:
            if descriptor is not None:
                inside = Netns(descriptor, netns.inode(descriptor, self._ours()))
        except CniError as error:
            log.info("%s: %s; its NIC is looked for elsewhere", call.key, error)
        self._actions.delete(call.key, inside, request.asked_at, wait)
        return ""


@functools.lru_cache(skel.KEPT)
def _read(stdin: str, bindaddr: str, args: tuple[tuple[str, str], ...]) -> tuple[netconf.NetConf, list[str]]:
    """Of an ADD: its configuration, and the keys that mean nothing. Raises `HostnicError`."""
    config = skel.configuration(stdin)[0]
    strange = keys.unknown(config)
    return netconf.parse(config, bindaddr, dict(args)), strange


def refusal(request_id: str, error: HostnicError, version: str = spec.NEWEST) -> Answer:
    """The answer that carries this error, and the request's id: what leads from a kubelet's words to our log."""
    told = spec.error_object(error, version)
    told["details"] = "; ".join(filter(None, (told["details"], f"request={request_id}")))
    return Answer(request_id, 1, json.dumps(redact.value(told)))


def defect(error: Exception) -> HostnicError:
    """An exception that nobody foresaw, for people: the traceback is in the agent's log."""
    return CniError(
        spec.INTERNAL, "a defect of qingagent: journalctl -u qingagent has the traceback", error=type(error).__name__
    )


def _log_level(call: Invocation) -> str:
    """Nothing in a configuration may keep a DEL from working."""
    try:
        return netconf.log_level(call.config)
    except HostnicError:
        if call.verb == "DEL":
            return ""
        raise


def _version(stdin: str) -> str:
    """Echoes the caller's version, as the specification has it, where there is one."""
    version = _asked(stdin) or spec.NEWEST
    return json.dumps({"cniVersion": version, "supportedVersions": list(spec.SUPPORTED)})


def _spoken(stdin: str) -> str:
    """The version of an error object: the configuration's, where there is one and it is spoken here."""
    asked = _asked(stdin)
    return asked if asked in spec.SUPPORTED else spec.NEWEST


def _asked(stdin: str) -> str:
    """The cniVersion of what may be no configuration, "" for none."""
    try:
        asked = json.loads(stdin).get("cniVersion")
    except (ValueError, RecursionError, AttributeError):
        return ""
    return asked if isinstance(asked, str) else ""


def _pod(request: Request) -> str:
    """As CNI_ARGS have it, before anybody has looked whether they are valid."""
    pairs = (pair.partition("=") for pair in request.env.get("CNI_ARGS", "").split(";"))
    return pod_of({name: value for name, __, value in pairs})


def _done(who: str, took: float, trace: t.Mapping[str, str]) -> None:
    """Say so once the caller has its answer."""
    afterwards.do(lambda: log.info("%s done in %.0f ms", who, took))
    if trace:
        afterwards.do(lambda: log.debug("%s, phase by phase", who, extra=context.fields(**trace)))


def _trace(request: Request, started: float) -> dict[str, str]:
    """Where the time of a call went, in ms: on the way to here (`wire`, a part of `queue`), then in each phase.

    `asked_at`: boot seconds, so that a runtime's own times can be laid beside these. Empty where nobody wants to know.
    """
    if not loglevel.wanted(logging.DEBUG):
        return {}
    took = {"wire": started - request.asked_at, **telemetry.so_far()}
    return {"asked_at": f"{request.asked_at:.6f}", **{name: f"{spent * 1000:.3f}" for name, spent in took.items()}}


def _who(request: Request) -> str:
    env = request.env
    return ascii(f"{request.verb} {env.get('CNI_CONTAINERID', '')} {env.get('CNI_IFNAME', '')}")[1:-1]
