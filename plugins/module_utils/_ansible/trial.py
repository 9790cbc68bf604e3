# SPDX-License-Identifier: GPL-3.0-or-later
"""A pod without a container runtime: a network namespace that gets its NIC by the plugin, and pings others."""

from __future__ import annotations

import json
import typing as t
from pathlib import Path

from ..hostnic.errors import InvalidConfig, LinkFailed
from . import echo

# As `command.run`.
Runner = t.Callable[..., "tuple[int, str, str]"]

PLUGIN: t.Final = "qingcni"
IFNAME: t.Final = "eth0"
NAMED: t.Final = Path("/run/netns")


def configuration(path: Path) -> dict[str, t.Any]:
    """What a runtime hands our plugin of this file: one of a list with the list's name and version. `InvalidConfig`."""
    try:
        whole = json.loads(path.read_text(encoding="utf-8"))
        plugins = [plugin for plugin in whole.get("plugins", [whole]) if plugin["type"] == PLUGIN]
    except (OSError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise InvalidConfig(f"{path} is no CNI configuration: {error}; run site.yml") from error
    if not plugins:
        raise InvalidConfig(f"{path} is no CNI configuration with {PLUGIN} in it: run site.yml")
    wanted = {key: value for key, value in plugins[0].items() if key != "capabilities"}
    return {**wanted, **{key: whole[key] for key in ("name", "cniVersion") if key in whole}}


class TrialPod:
    """`name` is that of the namespace, and the container's id. All of it may be repeated."""

    def __init__(self, name: str, plugin: str, conf: t.Mapping[str, t.Any], run: Runner) -> None:
        self._name = name
        self._plugin = plugin
        self._conf = conf
        self._run = run

    def stands(self) -> bool:
        return (NAMED / self._name).exists()

    def start(self) -> dict[str, str]:
        """Address and MAC. Raises `LinkFailed` with the plugin's own words."""
        if not self.stands():
            self._must(["ip", "netns", "add", self._name])
        result = self._cni("ADD")
        addresses = [ip["address"] for ip in result.get("ips", [])] or [result["ip4"]["ip"]]  # 0.2.0 has no ips
        macs = [link.get("mac", "") for link in result.get("interfaces", []) if link.get("sandbox")]
        return {"address": addresses[0].partition("/")[0], "mac": macs[0] if macs else ""}

    def end(self) -> None:
        """Also where there is none."""
        self._cni("DEL")
        if self.stands():
            self._must(["ip", "netns", "delete", self._name])

    def ping(self, addresses: t.Sequence[str], count: int) -> dict[str, t.Optional[float]]:
        """Address ► round trip in ms on average, None where no answer came. Raises `LinkFailed`."""
        return echo.round_trips(str(NAMED / self._name), addresses, count)

    def _cni(self, verb: str) -> dict[str, t.Any]:
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": self._name,
            "CNI_NETNS": str(NAMED / self._name) if self.stands() else "",
            "CNI_IFNAME": IFNAME,
            "CNI_PATH": str(Path(self._plugin).parent),
        }
        status, said, trouble = self._run([self._plugin], environment, json.dumps(self._conf))
        try:
            answer = json.loads(said) if said.strip() else {}
        except ValueError:
            answer = {}
        if status:
            reason = answer.get("msg") or said.strip() or trouble.strip()
            raise LinkFailed(f"{verb} failed (exit status {status}): {reason}", code=answer.get("code"))
        return dict(answer)

    def _must(self, command: t.Sequence[str]) -> None:
        status, said, trouble = self._run(command)
        if status:
            raise LinkFailed(f"{' '.join(command)} failed: {trouble.strip() or said.strip()}")
