# SPDX-License-Identifier: GPL-3.0-or-later
"""A client of the Container Runtime Interface: pods as a kubelet asks for them."""

from __future__ import annotations

import functools
import json
import os
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.image import IMAGE, PAUSE
from tests.lab.wait import until

# grpc reads them when it is imported: no handlers around fork(), no chatter of its core.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

import grpc  # type: ignore[import-untyped]  # noqa: E402

# "/var/run" of a runtime is "/run", and /proc/PID/root/var/run would be looked up on this host.
_ALIAS = ("/var/run/", "/run/")


@dataclass(frozen=True)
class Pod:
    """``netns`` is a path in the node's mount namespace, ``pid`` the pause process there."""

    name: str
    namespace: str
    uid: str
    sandbox_id: str
    ip: str
    netns: str
    pid: int
    ready: bool
    container_id: str = ""


@dataclass(frozen=True)
class Result:
    exit_code: int
    stdout: str
    stderr: str


class CriError(LabError):
    """What the runtime answered; ``code`` is gRPC's name of the status."""

    def __init__(self, call: str, code: str, details: str) -> None:
        super().__init__(f"{call}: {code}: {details}")
        self.code = code
        self.details = details


@functools.cache
def _protocol() -> tuple[t.Any, t.Any]:
    return t.cast("tuple[t.Any, t.Any]", grpc.protos_and_services("tests/lab/cri.proto"))


class Starting:
    """A sandbox that is being made."""

    def __init__(self, call: t.Any) -> None:
        self._call = call

    @property
    def done(self) -> bool:
        return bool(self._call.done())

    def cancel(self) -> None:
        """Hang up, as a client that has lost its patience does."""
        self._call.cancel()

    def sandbox_id(self) -> str:
        """Once it is there; raises CriError, CANCELLED for one that was cancelled."""
        try:
            return str(self._call.result().pod_sandbox_id)
        except grpc.FutureCancelledError:
            raise CriError("RunPodSandbox", "CANCELLED", "by the client") from None
        except grpc.RpcError as error:
            raise CriError("RunPodSandbox", error.code().name, str(error.details())) from None


class Cri:
    """``socket`` is the runtime's socket as this host sees it."""

    def __init__(self, socket: Path | str, timeout: float = 120) -> None:
        self._messages, services = _protocol()
        self._channel = grpc.insecure_channel(f"unix:{socket}")
        self._runtime = services.RuntimeServiceStub(self._channel)
        self._images = services.ImageServiceStub(self._channel)
        self._timeout = timeout

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> Cri:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def version(self) -> str:
        answer = self._call("Version", self._messages.VersionRequest(version="v1"))
        return f"{answer.runtime_name} {answer.runtime_version}"

    def network_ready(self) -> bool:
        """Whether the runtime has found a CNI configuration that it takes."""
        answer = self._call("Status", self._messages.StatusRequest())
        return any(item.type == "NetworkReady" and item.status for item in answer.status.conditions)

    def networks(self) -> list[str]:
        """Names of the CNI configurations that pods get, as containerd tells them."""
        answer = self._call("Status", self._messages.StatusRequest(verbose=True))
        loaded = json.loads(answer.info["cniconfig"])["Networks"]
        return [str(network["Config"]["Name"]) for network in loaded]

    def wait_ready(self, seconds: float = 30) -> None:
        """Until the runtime has the image and a network configuration."""
        spec = self._messages.ImageSpec(image=IMAGE)
        status = self._messages.ImageStatusRequest(image=spec)

        def ready() -> bool:
            image = self._call("ImageStatus", status, self._images).image
            return bool(image.id) and self.network_ready()

        until(ready, seconds, "runtime with an image and a network configuration")

    def run_pod(
        self,
        name: str,
        namespace: str = "default",
        uid: str | None = None,
        workload: bool = True,
        ports: t.Mapping[int, int] | None = None,
        command: t.Sequence[str] = (PAUSE,),
        annotations: t.Mapping[str, str] | None = None,
    ) -> Pod:
        """Start the sandbox and, unless told not to, a container in it that ``exec`` may use.

        ``ports``: TCP ports of the node ► of the pod; ``command`` is the container's; ``annotations`` are the pod's.
        """
        config = self._config(name, namespace, uid or f"{namespace}-{name}", ports or {}, annotations or {})
        request = self._messages.RunPodSandboxRequest(config=config)
        sandbox = self._call("RunPodSandbox", request).pod_sandbox_id
        container = self._start_container(sandbox, config, command) if workload else ""
        return self.pod(sandbox, container)

    def begin_pod(self, name: str, namespace: str) -> Starting:
        """A sandbox without a container; returns while the runtime is at it."""
        config = self._config(name, namespace, f"{namespace}-{name}", {}, {})
        request = self._messages.RunPodSandboxRequest(config=config)
        return Starting(self._runtime.RunPodSandbox.future(request, timeout=self._timeout))

    def _config(
        self, name: str, namespace: str, uid: str, ports: t.Mapping[int, int], annotations: t.Mapping[str, str]
    ) -> t.Any:
        m = self._messages
        metadata = m.PodSandboxMetadata(name=name, namespace=namespace, uid=uid)
        # The keys by which CNI plugins are told which pod it is.
        labels = {
            "io.kubernetes.pod.name": name,
            "io.kubernetes.pod.namespace": namespace,
            "io.kubernetes.pod.uid": uid,
        }
        mapped = [m.PortMapping(protocol=0, container_port=inner, host_port=outer) for outer, inner in ports.items()]
        linux = m.LinuxPodSandboxConfig()
        return m.PodSandboxConfig(
            metadata=metadata, hostname=name, labels=labels, linux=linux, port_mappings=mapped, annotations=annotations
        )

    def _start_container(self, sandbox: str, config: t.Any, command: t.Sequence[str]) -> str:
        m = self._messages
        container = m.ContainerConfig(
            metadata=m.ContainerMetadata(name="workload"),
            image=m.ImageSpec(image=IMAGE),
            command=command,
        )
        request = m.CreateContainerRequest(pod_sandbox_id=sandbox, config=container, sandbox_config=config)
        created = str(self._call("CreateContainer", request).container_id)
        self._call("StartContainer", m.StartContainerRequest(container_id=created))
        return created

    def pod(self, sandbox_id: str, container_id: str = "") -> Pod:
        """The pod as the runtime sees it now."""
        request = self._messages.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
        answer = self._call("PodSandboxStatus", request)
        status, info = answer.status, json.loads(answer.info.get("info", "{}"))
        spaces = ((info.get("runtimeSpec") or {}).get("linux") or {}).get("namespaces") or []
        netns = next((space.get("path", "") for space in spaces if space["type"] == "network"), "")
        return Pod(
            name=status.metadata.name,
            namespace=status.metadata.namespace,
            uid=status.metadata.uid,
            sandbox_id=sandbox_id,
            ip=status.network.ip,
            netns=netns.replace(*_ALIAS, 1) if netns.startswith(_ALIAS[0]) else netns,
            pid=int(info.get("pid", 0)),
            ready=status.state == 0,
            container_id=container_id or self._container_of(sandbox_id),
        )

    def _container_of(self, sandbox_id: str) -> str:
        wanted = self._messages.ContainerFilter(pod_sandbox_id=sandbox_id)
        request = self._messages.ListContainersRequest(filter=wanted)
        found = self._call("ListContainers", request).containers
        return str(found[0].id) if found else ""

    def pods(self) -> list[Pod]:
        answer = self._call("ListPodSandbox", self._messages.ListPodSandboxRequest())
        return [self.pod(item.id) for item in answer.items]

    def stop_pod(self, pod: Pod | str) -> None:
        sandbox = pod if isinstance(pod, str) else pod.sandbox_id
        self._call("StopPodSandbox", self._messages.StopPodSandboxRequest(pod_sandbox_id=sandbox))

    def remove_pod(self, pod: Pod | str) -> None:
        """Stops it first where it still runs."""
        sandbox = pod if isinstance(pod, str) else pod.sandbox_id
        self._call("RemovePodSandbox", self._messages.RemovePodSandboxRequest(pod_sandbox_id=sandbox))

    def exec(self, pod: Pod, argv: t.Sequence[str], seconds: int = 30) -> Result:
        """Run a command of the image in the pod's container."""
        request = self._messages.ExecSyncRequest(container_id=pod.container_id, cmd=argv, timeout=seconds)
        answer = self._call("ExecSync", request)
        return Result(answer.exit_code, answer.stdout.decode(), answer.stderr.decode())

    def _call(self, name: str, request: t.Any, service: t.Any = None) -> t.Any:
        try:
            return getattr(service or self._runtime, name)(request, timeout=self._timeout)
        except grpc.RpcError as error:
            raise CriError(name, error.code().name, str(error.details())) from None
