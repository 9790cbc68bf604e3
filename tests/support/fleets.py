# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers of whole fleets, as `hostnic_report_info` and the modules that ask the cloud give them."""

from __future__ import annotations

import json
import typing as t

Raw = dict[str, t.Any]

DIGEST: t.Final = "3f2a90cc15b7de08"
OLDER: t.Final = "91bc44d07a6e2f15"
NOW: t.Final = 400_000.0
_STATES: t.Final = ("READY", "READY", "QUARANTINE", "ATTACHING", "HELD", "READY", "DRAINING")


def fleet(size: int, nics: int = 60, wrong: bool = True) -> Raw:
    """What `hostnic_report` takes. `wrong`: some of the nodes have something."""
    names = [f"node{number:03}" if size > 9 else f"node{number}" for number in range(1, size + 1)]
    answers = {name: node(number, nics) for number, name in enumerate(names, 1)}
    if wrong:
        for number, name in enumerate(names, 1):
            answers[name].update(_spoilt(number, answers[name]))
        if size > 2:
            answers[names[2]] = {"unreachable": True, "msg": "Failed to connect to the host via ssh: timed out"}
    nodes = {name: raw if "msg" in raw else told(raw) for name, raw in answers.items()}
    return {"nodes": nodes, "vxnets": vxnets(size), "sweep": sweep(3 if wrong else 0)}


def told(raw: Raw) -> Raw:
    """The result of the module that has these answers."""
    return {"changed": False, "answers": json.dumps(raw)}


def node(number: int, size: int = 60, **changes: t.Any) -> Raw:
    """A sound one with so many NICs, a gateway NIC among them, and room for three more."""
    table = [nic(number, index, size) for index in range(size)]
    leases = [lease(number, index, row) for index, row in enumerate(table) if row["state"] == "IN_USE"]
    return {
        "via": "agent",
        "instance_id": f"i-{number:08x}",
        "installed": {"version": "0.1.0", "digest": DIGEST},
        "version": {"version": "0.1.0", "digest": DIGEST, "pid": 1234},
        "nics": table,
        "leases": leases,
        "plan": {"cap": size + 2, "want": size, "draining": False, "trouble": None},
        "status": {"ok": True, "problems": []},
        "doctor": {"healthy": True, "findings": [], "unchecked": [], "checks": ["forwarding"]},
        "now": NOW,
        "unasked": {},
        **changes,
    }


def nic(number: int, index: int, nics: int, **changes: t.Any) -> Raw:
    gateway = index == nics - 1 and nics > 1
    used = index < nics * 2 // 3
    state = "GATEWAY" if gateway else "IN_USE" if used else _STATES[(index + number) % len(_STATES)]
    return {
        "nic_id": f"52:54:9e:{number // 256:02x}:{number % 256:02x}:{index:02x}",
        "vxnet_id": f"vxnet-pods{index % 2}" if number % 2 else "vxnet-pods0",
        "private_ip": f"172.{16 + index % 2}.{number % 256}.{index + 2}",
        "state": state,
        "purpose": "gateway" if gateway else "pool",
        "since": NOW - 97.0 * (index + 1) * (number % 7 + 1),
        "note": "",
        "workload": "shop/cache-0" if state == "HELD" else "",
        **changes,
    }


def lease(number: int, index: int, row: Raw) -> Raw:
    name = ("frontend", "checkout", "search", "ledger")[index % 4]
    return {
        "network": "qingcloud",
        "container_id": f"{number:032x}{index:032x}",
        "ifname": "eth0",
        "nic_id": row["nic_id"],
        "args": {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": f"{name}-7d9f8b6c5d-{index:05x}"},
    }


def vxnets(size: int) -> Raw:
    prefix = 16 if size > 9 else 24
    rows = [
        {
            "vxnet_id": "vxnet-pods0",
            "vxnet_name": "pods",
            "network": f"172.16.0.0/{prefix}",
            "available": 131,
            "reason": "",
        },
        {"vxnet_id": "vxnet-pods1", "vxnet_name": "", "network": f"172.17.0.0/{prefix}", "available": 7, "reason": ""},
        {"vxnet_id": "vxnet-other", "vxnet_name": "of others", "network": "10.0.0.0/24", "available": 99, "reason": ""},
    ]
    return {"changed": False, "vxnets": rows}


def sweep(count: int) -> Raw:
    strays = [
        {
            "nic_id": f"52:54:aa:00:00:{index:02x}",
            "vxnet_id": "vxnet-pods0",
            "private_ip": f"172.16.250.{index + 2}",
            "reason": "i-0000dead is ceased",
            "deletable": index % 2 == 0,
        }
        for index in range(count)
    ]
    return {"changed": False, "strays": strays, "deleted": []}


def _spoilt(number: int, sound: Raw) -> Raw:
    """What the node says instead."""
    if number % 60 == 2:
        trouble = "no agent answers on /run/qingagent/qingagent.sock (Connection refused): systemctl status qingagent"
        rest = {"version": {}, "plan": {}, "status": {}, "via": "journal", "unasked": {"agent": trouble}}
        return {
            **rest,
            "doctor": _doctor(
                "agent", "error", "The unit qingagent.service is not active", "systemctl start qingagent"
            ),
        }
    if number % 25 == 4:
        return {"version": {"version": "0.0.9", "digest": OLDER}, "installed": {"version": "0.0.9", "digest": OLDER}}
    if number % 20 == 5:
        found = "net.ipv4.conf.eth0.rp_filter is 1: replies of pods to services of other vxnets are dropped"
        return {
            "doctor": _doctor(
                "rp_filter", "warning", found, "sysctl net.ipv4.conf.eth0.rp_filter=2, in /etc/sysctl.d too"
            )
        }
    if number % 30 == 1:
        rows = [dict(row) for row in sound["nics"]]
        for row in rows[:2] if len(rows) > 4 else rows[:1]:
            row.update(state="BROKEN", note="its link is gone")
        gone = {row["nic_id"] for row in rows if row["state"] == "BROKEN"}
        return {"nics": rows, "leases": [one for one in sound["leases"] if one["nic_id"] not in gone]}
    if number % 45 == 7:
        return {"doctor": None, "unasked": {"doctor": "exit status 2: invalid choice: 'doctor'"}}
    return {}


def _doctor(check: str, severity: str, what: str, remedy: str) -> Raw:
    finding = {"check": check, "severity": severity, "what": what, "remedy": remedy}
    return {"healthy": False, "findings": [finding], "unchecked": [], "checks": [check]}
