# SPDX-License-Identifier: GPL-3.0-or-later
"""What must be right before anything on a node changes. Reads the node and asks the cloud; changes neither."""

from __future__ import annotations

import tempfile
import typing as t
from dataclasses import dataclass, field

from ..hostnic import config, proof
from ..hostnic.errors import Denied, HostnicError, InvalidConfig, Unreachable
from ..hostnic.host import Host
from ..hostnic.model import Vxnet
from ..hostnic.net import host_findings
from ..hostnic.ports import Cloud

_T = t.TypeVar("_T")


@dataclass
class Report:
    """Sentences. A problem stops the roll-out, a warning does not; `unchecked` is what could not be looked at."""

    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)

    def attempt(self, check: t.Callable[[], _T]) -> t.Optional[_T]:
        """What the check returns; None where it raised, and its sentence is a problem then."""
        try:
            return check()
        except HostnicError as error:
            self.problems.append(error.message)
            return None


def variable(key: str) -> str:
    """The role's variable for a key of the agent's configuration."""
    return f"qingagent_{key.lower().replace('-', '_')}"


def load_settings(given: t.Mapping[str, t.Any]) -> tuple[config.Settings, dict[str, str]]:
    """As the agent will, with the role's names in what it raises instead of those of flags."""
    with tempfile.TemporaryDirectory() as nowhere:
        try:
            return config.load(given, {}, nowhere)
        except InvalidConfig as error:
            sentence = error.message
            for key in sorted(given, key=len, reverse=True):
                sentence = sentence.replace(f"--{key}", variable(key))
            raise InvalidConfig(sentence) from None


def check_iface(iface: str, host: Host, report: Report) -> None:
    """The link that is never touched must be there, and should be the one that this machine is reached by."""
    own = host.own_link(iface)
    if not own.there:
        hint = f": set qingagent_iface to {own.better}, which carries the default route" if own.better else ""
        report.problems.append(f"{own.doubt}{hint}")
    elif own.doubt:
        report.warnings.append(own.doubt)


def check_network(iface: str, nft: t.Optional[str], report: Report) -> None:
    """What makes services fail on this host is a warning, for pods work without. `nft`: where it is installed."""
    if nft is None:
        report.problems.append("nft is not installed: install the nftables package, the agent makes its rules with it")
    seen = host_findings.look(iface)
    report.warnings.extend(seen.found)
    report.unchecked.extend(seen.unchecked)


def check_cloud(cloud: Cloud, instance_id: str, zone: str, vxnets: t.Sequence[str], host: Host, report: Report) -> None:
    """Ask the cloud. An error that stands for all calls, such as a wrong key, is told once."""
    try:
        if not _zone_known(cloud, zone, report):
            return
        full = _check_instance(cloud, instance_id, zone, host, report)
        _check_vxnets(cloud.describe_vxnets(vxnets), vxnets, zone, full, report)
    except Unreachable as error:
        report.problems.append(
            f"{error.message}. The node itself must reach the API: see qingagent_host, qingagent_port and "
            "qingagent_protocol, or the access file"
        )
    except HostnicError as error:
        report.problems.append(error.message)


def _zone_known(cloud: Cloud, zone: str, report: Report) -> bool:
    """True as well where this key may not list zones."""
    try:
        zones = cloud.describe_zones()
    except Denied as error:
        report.unchecked.append(f"zone {zone}: {error.message}")
        return True
    if zone not in zones:
        known = ", ".join(sorted(zones)) or "none"
        report.problems.append(f"zone {zone} is unknown to this account, which has {known}: set qingagent_zone")
    return zone in zones


def _check_instance(cloud: Cloud, instance_id: str, zone: str, host: Host, report: Report) -> bool:
    """Returns whether a vxnet without a free address would stop this node: not one that has its NICs already."""
    attached = cloud.describe_nics(instance_id=instance_id)
    doubt = proof.doubt(instance_id, attached, host.macs().values())
    if doubt and proof.primary_of(attached) is None:
        report.problems.append(
            f"{doubt} in zone {zone}: check /etc/qingcloud/instance-id, qingagent_zone and whose access key this is"
        )
    elif doubt:
        report.problems.append(
            f"{doubt}. Write this machine's own id into /etc/qingcloud/instance-id; images that were cloned carry "
            "their parent's"
        )
    return not any(nic.role != 1 for nic in attached)


def _check_vxnets(
    known: t.Sequence[Vxnet], wanted: t.Sequence[str], zone: str, full_stops: bool, report: Report
) -> None:
    """One full vxnet among others is no reason to stop: the agent goes on to the next."""
    found = {vxnet.vxnet_id: vxnet for vxnet in known}
    for vxnet_id in wanted:
        if vxnet_id not in found:
            report.problems.append(
                f"vxnet {vxnet_id} is unknown in zone {zone}: set qingagent_vxnet to a vxnet of this account"
            )
    full = [vxnet for vxnet in known if vxnet.available == 0 and vxnet.gateway]
    for vxnet in known:
        problem = vxnet.problem()
        if problem and vxnet not in full:
            report.problems.append(problem.message)
    sentences = [problem.message for problem in (vxnet.problem() for vxnet in full) if problem]
    if full and len(full) == len(set(wanted)) and full_stops:
        report.problems.extend(sentences)
    else:
        report.warnings.extend(sentences)
