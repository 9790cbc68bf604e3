# SPDX-License-Identifier: GPL-3.0-or-later
"""How yunify's qingcloud-cni got a pod its NIC: one create and one attach for each, made while the pod waits."""

from __future__ import annotations

import typing as t

from hostnic.cloud.qingcloud import QingCloud

POLL: t.Final = 1.0  # s; the original looked for the link every 5 s and at the job every second
PATIENCE: t.Final = 25.0  # s for the link, and as long again for the job


class Original:
    """Its ADD, call by call, without its defects: a vxnet that is read, errors that are raised.

    CreateNics of one, AttachNics to this instance, then looks for a link with that MAC and at the job until both are
    there, each time after a pause of `POLL`, then DescribeVxnets for the pod's network and gateway. Its five seconds
    between looks for the link are made one, so that it is not slower here than it has to be.
    """

    def __init__(
        self,
        cloud: QingCloud,
        instance_id: str,
        vxnet_id: str,
        linked: t.Callable[[str], bool],
        sleep: t.Callable[[float], object],
    ) -> None:
        self._cloud = cloud
        self._instance_id = instance_id
        self._vxnet_id = vxnet_id
        self._linked = linked
        self._sleep = sleep

    def add(self, container_id: str) -> str:
        """The NIC. Raises `TimeoutError`."""
        (nic,) = self._cloud.create_nics(self._vxnet_id, 1, container_id)
        job_id = self._cloud.attach_nics([nic.nic_id], self._instance_id)
        self._await(lambda: self._linked(nic.nic_id), f"a link {nic.nic_id}")
        self._await(lambda: self._cloud.describe_jobs([job_id]).get(job_id) == "successful", f"job {job_id}")
        self._cloud.describe_vxnets([self._vxnet_id])
        return nic.nic_id

    def delete(self, nic_id: str) -> None:
        """Raises `TimeoutError`."""
        job_id = self._cloud.detach_nics([nic_id])
        self._await(lambda: self._cloud.describe_jobs([job_id]).get(job_id) == "successful", f"job {job_id}")
        self._cloud.delete_nics([nic_id])

    def _await(self, there: t.Callable[[], bool], what: str) -> None:
        waited = 0.0
        while not there():
            if waited >= PATIENCE:
                raise TimeoutError(f"{what} did not come")
            self._sleep(POLL)
            waited += POLL
