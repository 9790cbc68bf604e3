# SPDX-License-Identifier: GPL-3.0-or-later
"""One cell of the matrix, being run: calls of its verb with a configuration of its version."""

from __future__ import annotations

import contextlib
import json
import typing as t
from types import MappingProxyType

from tests.e2e.conformance.bench import EXECUTABLE, NETWORK, Attachment, Bench, Command, Pod, qingcni
from tests.e2e.conformance.reply import Reply
from tests.e2e.conformance.rows import ABSENT

Some = t.Mapping[str, t.Any]
Places = tuple[set[str], set[str]]
NOBODY: t.Final = "nobody"  # a container that has nothing
NOTHING_VALID: t.Final[Some] = {"cni.dev/valid-attachments": []}
AS_IT_IS: t.Final[Some] = MappingProxyType({})
GC_NETWORK: t.Final = "conformance-gc"  # in which nothing is attached, but by the rows of GC


class Cell:
    """`calls`: how often the row asked for this verb in this version; one that never does shows nothing.

    A call is valid unless it is changed: an ADD into a new pod, a DEL of a container that has nothing, a CHECK of an
    ADD that stands, a GC of a network in which nothing is; DEL and CHECK concern the cell's own ADD where there is one.
    """

    def __init__(self, bench: Bench, verb: str, version: str) -> None:
        self.bench = bench
        self.verb = verb
        self.version = version
        self.calls = 0
        self._own: list[Attachment] = []
        self._pods: list[Pod] = []
        self._places: t.Optional[Places] = None  # before the first call that was to change nothing

    def close(self) -> None:
        """Raises AssertionError where a call that failed has done something all the same."""
        for one in self._own:
            self.bench.delete(one)
        if self._places:
            (parked, host), (parked_now, host_now) = self._places, self.bench.places()
            assert parked <= parked_now, "a NIC has left its parking place"
            assert host <= host_now | parked_now, "a link has left the host"
            assert self.bench.empty.links() == {}
        for pod in self._pods:
            with contextlib.suppress(AssertionError):  # the row has ended it
                self.bench.remove(pod)

    # -- calls --

    def call(self, env: Some = AS_IT_IS, config: Some = AS_IT_IS, stdin: t.Optional[str] = None) -> Reply:
        if self.verb == "ADD":
            reply, _ = self._add(self.pod(), env, config, stdin)
            return reply
        (reply,) = self.bench.run(self.command(self._target(), env, config, stdin))
        return reply

    def call_in(self, pod: Pod) -> Reply:
        """An ADD into this pod, whatever comes of it."""
        return self._add(pod, {}, {})[0]

    def succeeds(self, env: Some = AS_IT_IS, config: Some = AS_IT_IS, stdin: t.Optional[str] = None) -> Reply:
        """A call that prints what a success of this verb prints."""
        reply = self.call(env, config, stdin)
        if self.verb in ("ADD", "VERSION"):
            reply.document()
        else:
            reply.nothing()
        return reply

    def refused(
        self,
        code: int,
        *words: str,
        env: Some = AS_IT_IS,
        config: Some = AS_IT_IS,
        stdin: t.Optional[str] = None,
        deaf: bool = False,
    ) -> dict[str, t.Any]:
        """The error object of a call that leaves every link where it is, as the cell's end will see.

        `deaf`: with a stdin that cannot be read.
        """
        target = (self.bench.empty, NOBODY) if self.verb == "ADD" else self._target()
        command = self.command(target, env, config, stdin)
        if deaf:
            command["stdin"] = None
        if self._places is None:
            self._places = self.bench.places()
        (reply,) = self.bench.run(command)
        return reply.error(code, *words)

    def command(
        self,
        target: tuple[Pod, str],
        env: Some = AS_IT_IS,
        config: Some = AS_IT_IS,
        stdin: t.Optional[str] = None,
    ) -> Command:
        """For `Bench.run`."""
        self.calls += 1
        return self._command(self.verb, target, env, config, stdin)

    # -- attachments --

    def pod(self) -> Pod:
        """A new one; it ends with the cell."""
        pod = self.bench.pod()
        self._pods.append(pod)
        return pod

    def added(self) -> Attachment:
        """An ADD of this version that stands, without wishes; for rows that look at what it made."""
        if self.version not in self.bench.added:
            pod = self.bench.pod(f"v{self.version}")
            container = f"standing-{self.version}"
            (reply,) = self.bench.run(self._command("ADD", (pod, container)))
            one = Attachment(pod, container, "eth0", self._config(), reply.document())
            self.bench.added[self.version] = one
        self.calls += self.verb == "ADD"
        return self.bench.added[self.version]

    def own(self, env: Some = AS_IT_IS, config: Some = AS_IT_IS, pod: t.Optional[Pod] = None) -> Attachment:
        """An ADD of the cell's own, which ends with it."""
        reply, one = self._add(pod or self.pod(), env, config)
        reply.document()
        assert one is not None
        return one

    def ended(self, one: Attachment) -> None:
        """The row has deleted it."""
        self._own.remove(one)

    # -- inside --

    def _add(
        self, pod: Pod, env: Some, config: Some, stdin: t.Optional[str] = None
    ) -> tuple[Reply, t.Optional[Attachment]]:
        self.calls += self.verb == "ADD"
        container = str(env.get("CNI_CONTAINERID", pod.name))
        (reply,) = self.bench.run(self._command("ADD", (pod, container), env, config, stdin))
        if reply.exit != 0:
            return reply, None
        ifname = str(env.get("CNI_IFNAME", "eth0"))
        one = Attachment(pod, container, ifname, self._config(config), reply.document())
        if one.key not in [known.key for known in self._own]:
            self._own.append(one)
        return reply, one

    def _target(self) -> tuple[Pod, str]:
        if self._own:
            return self._own[-1].pod, self._own[-1].container
        if self.verb == "CHECK":
            standing = self.added()
            return standing.pod, standing.container
        return self.bench.empty, NOBODY

    def _command(
        self,
        verb: str,
        target: tuple[Pod, str],
        env: Some = AS_IT_IS,
        config: Some = AS_IT_IS,
        stdin: t.Optional[str] = None,
    ) -> Command:
        text = json.dumps(self._config(config, verb)) if stdin is None else stdin
        return qingcni(_without_absent({**self._environment(verb, target), **env}), text)

    def _environment(self, verb: str, target: tuple[Pod, str]) -> dict[str, str]:
        pod, container = target
        env = {"CNI_COMMAND": verb, "CNI_PATH": EXECUTABLE.rpartition("/")[0]}
        if verb in ("ADD", "DEL", "CHECK"):
            env |= {"CNI_CONTAINERID": container, "CNI_IFNAME": "eth0", "CNI_NETNS": pod.path}
        return env

    def _config(self, changes: Some = AS_IT_IS, verb: str = "ADD") -> dict[str, t.Any]:
        config: dict[str, t.Any] = {"cniVersion": self.version}
        if verb != "VERSION":
            config |= {"name": NETWORK, "type": "qingcni"}
        if verb == "GC":
            config |= {"name": GC_NETWORK, **NOTHING_VALID}
        if verb == "CHECK":
            config |= {"prevResult": (self._own[-1] if self._own else self.added()).result}
        return _without_absent({**config, **changes})


def _without_absent(changed: dict[str, t.Any]) -> dict[str, t.Any]:
    return {name: value for name, value in changed.items() if value is not ABSENT}
