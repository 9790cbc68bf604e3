# SPDX-License-Identifier: GPL-3.0-or-later
"""Instances going on and off. Not under the cloud's lock, and not beside a running job."""

from __future__ import annotations

import typing as t

from tests.emulator import nics as rules
from tests.emulator.cloud import Cloud
from tests.emulator.errors import EmulatorError
from tests.emulator.models import SECONDARY, Instance, Nic


def start(cloud: Cloud, instance_id: str) -> None:
    """The instance runs and its NICs' links are in its netns, unless that netns is not there."""
    with cloud.lock:
        instance = _instance(cloud, instance_id)
        if instance.status in ("terminated", "ceased"):
            raise EmulatorError(f"{instance_id} is {instance.status}")
        _set(cloud, instance, "running")
        ports = [cloud.port_of(nic) for nic in cloud.nics_of(instance_id)]
    cloud.dataplane.plug([port for port in ports if port is not None])


def stop(cloud: Cloud, instance_id: str) -> None:
    """Its links are gone; its NICs stay attached or not as ``nics_on_stop`` says."""
    _off(cloud, instance_id, "stopped", cloud.settings.nics_on_stop)


def restart(cloud: Cloud, instance_id: str) -> None:
    _off(cloud, instance_id, "stopped", cloud.settings.nics_on_restart)
    start(cloud, instance_id)


def terminate(cloud: Cloud, instance_id: str) -> None:
    _off(cloud, instance_id, "terminated", cloud.settings.nics_on_terminate)


def cease(cloud: Cloud, instance_id: str) -> None:
    """For good: the primary NIC goes with the instance."""
    _off(cloud, instance_id, "ceased", cloud.settings.nics_on_cease)
    with cloud.lock:
        rules.delete(cloud, cloud.nics_of(instance_id))


ACTIONS: t.Final[t.Mapping[str, t.Callable[[Cloud, str], None]]] = {
    "start": start,
    "stop": stop,
    "restart": restart,
    "terminate": terminate,
    "cease": cease,
}


def _off(cloud: Cloud, instance_id: str, status: str, fate: str) -> None:
    with cloud.lock:
        instance = _instance(cloud, instance_id)
        attached = cloud.nics_of(instance_id)
        _set(cloud, instance, status)
    cloud.dataplane.unplug([nic.nic_id for nic in attached])
    with cloud.lock:
        secondary = [nic for nic in attached if nic.role == SECONDARY]
        _settle(cloud, secondary, fate)


def _settle(cloud: Cloud, nics: t.Sequence[Nic], fate: str) -> None:
    if fate == "keep":
        return
    for nic in nics:
        rules.set_detached(nic, cloud.clock.now())
    if fate == "delete":
        rules.delete(cloud, nics)


def _instance(cloud: Cloud, instance_id: str) -> Instance:
    instance = cloud.instances.get(instance_id)
    if instance is None:
        raise EmulatorError(f"no instance {instance_id}")
    return instance


def _set(cloud: Cloud, instance: Instance, status: str) -> None:
    instance.status, instance.status_time = status, cloud.clock.now()
