#!/usr/bin/python
# SPDX-License-Identifier: GPL-3.0-or-later
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# ruff: noqa: E402
"""Documentation and wiring; the measuring is in module_utils/_ansible/probe."""

from __future__ import annotations

DOCUMENTATION = r"""
module: hostnic_probe
short_description: Measure on a real account what nobody documents about QingCloud
version_added: 0.1.0
author:
  - The qingcloud.cni developers (@qingcloud)
description:
  - Makes four NICs, attaches three of them to an instance, detaches and deletes all of them, and tells what it has
    learned on the way. How names are compared, how long lists may be, whether attach jobs run side by side, how long
    jobs take, whether C(enable_aspoof) can be changed, how soon new and deleted NICs show, and the NIC limit of the
    instance where a refusal names it.
  - This costs four NICs and four addresses for about a minute, and about 100 calls. It takes place only where O(accept)
    is set. In check mode the plan and its cost are told and nothing is made.
  - The NICs are removed whatever happens. Where that is impossible, because the API does not answer for five minutes,
    the module fails and names those that may be left.
  - Other NICs are never touched, the instance's own among them. While they are attached, the probe's NICs are links of
    the host, down and without address; a network manager on the host may want to configure them.
extends_documentation_fragment:
  - qingcloud.cni._access
  - qingcloud.cni._packages
  - qingcloud.cni._attributes
  - qingcloud.cni._attributes.action_group
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details: With O(state=cleaned). With O(state=measured) it measures anew each time, which is always a change.
options:
  state:
    description:
      - V(measured) makes the NICs, measures and removes them.
      - V(cleaned) removes what an interrupted run has left on this instance. It takes 20 seconds, since a NIC may show
        late.
    type: str
    choices: [measured, cleaned]
    default: measured
  accept:
    description: That four NICs are made on this account. Required for O(state=measured), but for check mode.
    type: bool
    default: false
  vxnet:
    description: The vxnet that the NICs are made in. Required for O(state=measured).
    type: str
  instance:
    description: The instance that NICs are attached to. Without it the one that this module runs on.
    type: str
  instance_id_path:
    description: File that holds the id of the instance that this module runs on.
    type: path
    default: /etc/qingcloud/instance-id
"""

EXAMPLES = r"""
- name: Tell what a probe takes
  qingcloud.cni.hostnic_probe:
    vxnet: vxnet-0a1b2c3
  check_mode: true
  register: plan

- name: Measure
  qingcloud.cni.hostnic_probe:
    vxnet: vxnet-0a1b2c3
    accept: true
  register: probe

- name: Remove what an interrupted run has left
  qingcloud.cni.hostnic_probe:
    state: cleaned
"""

RETURN = r"""
plan:
  description: What is done and what it takes.
  type: list
  elements: str
  returned: with O(state=measured)
  sample:
    - 4 NICs with 4 addresses of vxnet-0a1b2c3 are made, for about a minute.
settings:
  description: What was found, by the names of C(probe.json).
  type: dict
  returned: with O(state=measured), but for check mode
  sample:
    nic_name_match: exact
    parallel_jobs_per_instance: queue
    job_working_seconds: 3.1
unmeasured:
  description: What could not be found, and why.
  type: dict
  returned: with O(state=measured), but for check mode
  sample:
    nics_per_instance: the cloud attached all of the probe's NICs
seconds:
  description: Medians of how long things took.
  type: dict
  returned: with O(state=measured), but for check mode
  contains:
    create:
      description: CreateNics of one NIC.
      type: float
    job:
      description: A job that attaches or detaches, from the call to its end.
      type: float
    delete:
      description: DeleteNics of one NIC.
      type: float
nics:
  description: NICs of an interrupted run that were removed, or would be.
  type: list
  elements: str
  returned: with O(state=cleaned)
"""

import time
import typing as t
from dataclasses import asdict

from ansible.module_utils.basic import AnsibleModule

from ..module_utils._ansible import access, packages
from ..module_utils._ansible.module import run
from ..module_utils.hostnic import config
from ..module_utils.hostnic.errors import InvalidConfig

ARGUMENTS: dict[str, t.Any] = {
    **access.ARGUMENTS,
    **packages.ARGUMENTS,
    "state": {"choices": ["measured", "cleaned"], "default": "measured"},
    "accept": {"type": "bool", "default": False},
    "vxnet": {},
    "instance": {},
    "instance_id_path": {"type": "path", "default": "/etc/qingcloud/instance-id"},
}


def probe(wanted: t.Mapping[str, t.Any], check_mode: bool) -> dict[str, t.Any]:
    """The module's result. The package is imported here, when its dependencies can be found."""
    from ..module_utils._ansible.probe import task

    instance_id = wanted["instance"] or config.instance_id(wanted["instance_id_path"])
    cloud = access.connect(wanted)
    if wanted["state"] == "cleaned":
        nics = task.clean(cloud, instance_id, time.monotonic, time.sleep, check_mode)
        return {"changed": bool(nics), "nics": nics, "diff": {"before": {"nics": nics}, "after": {"nics": []}}}
    plan = task.cost(instance_id, wanted["vxnet"])
    if not check_mode and not wanted["accept"]:
        raise InvalidConfig(f"accept is not set: set it to true where a probe may be: {plan[0]}")
    result: dict[str, t.Any] = {"changed": True, "plan": plan, "diff": {"prepared": "\n".join(plan) + "\n"}}
    if check_mode:
        task.check(cloud, instance_id, wanted["vxnet"])
        return result
    return {**result, **asdict(task.measure(cloud, instance_id, wanted["vxnet"], time.monotonic, time.sleep))}


def main() -> None:
    module = AnsibleModule(
        argument_spec=ARGUMENTS, supports_check_mode=True, required_if=[("state", "measured", ["vxnet"])]
    )
    packages.use(module)
    run(module, lambda: probe(module.params, module.check_mode))


if __name__ == "__main__":
    main()
