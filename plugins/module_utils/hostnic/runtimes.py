# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the container runtimes of a node look for CNI plugins and configuration: in their own words, else defaults.

Mesos: its docs/cni.md and the flags of its agent.
"""

from __future__ import annotations

import os
import re
import typing as t
from dataclasses import dataclass, field
from pathlib import Path

BIN_DIR: t.Final = "/opt/cni/bin"
CONF_DIR: t.Final = "/etc/cni/net.d"
CONF_SUFFIXES: t.Final = (".conf", ".conflist", ".json")  # what libcni and containerd read
# version 2 of the file has the first name, version 3 (containerd 2) the second
CONTAINERD_SECTIONS: t.Final = ("io.containerd.grpc.v1.cri.cni", "io.containerd.cri.v1.runtime.cni")
CONTAINERD_CONFIG: t.Final = "etc/containerd/config.toml"
CRIO_CONFIGS: t.Final = ("etc/crio/crio.conf", "etc/crio/crio.conf.d/*.conf")
# Mesos' packages keep a flag a file, or all of them as variables of the service
MESOS_FLAGS: t.Final = ("etc/mesos-agent", "etc/mesos-slave")
MESOS_VARIABLES: t.Final = ("etc/default/mesos-agent", "etc/default/mesos-slave", "etc/default/mesos")

_SECTION = re.compile(r"^\[\[?(?P<name>[^\[\]]+)\]\]?\s*(#.*)?$")
_VALUE = re.compile(r"^(?P<key>[A-Za-z0-9_-]+)\s*=\s*(?P<value>.*)$")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'([^\']*)\'')

# Runs a command: its output, None where it is not there or failed.
Output = t.Callable[[t.Sequence[str]], t.Optional[str]]


@dataclass(frozen=True)
class Runtime:
    """`bin_dirs` in the order of the search; `lists`: reads lists of plugins, and takes the first file alone.

    One that does not, reads every file as the configuration of one plugin, and containers choose by its name.
    """

    name: str
    bin_dirs: tuple[str, ...] = (BIN_DIR,)
    conf_dir: str = CONF_DIR
    lists: bool = True

    def plugins(self, root: Path) -> set[str]:
        """Executables that it would find."""
        directories = [root / path.lstrip("/") for path in self.bin_dirs]
        files = [path for directory in directories if directory.is_dir() for path in directory.iterdir()]
        return {path.name for path in files if path.is_file() and os.access(path, os.X_OK)}


@dataclass
class Surroundings:
    """What a CNI configuration of ours has to fit in with."""

    runtimes: list[Runtime]
    shared: list[str] = field(default_factory=list)  # directories of one kind of runtime that the other kind reads too
    rivals: list[str] = field(default_factory=list)  # files that sort before ours
    others: list[str] = field(default_factory=list)  # files that sort after it
    plugins: list[str] = field(default_factory=list)  # executables that every runtime finds


def find(
    conf_name: str,
    output: Output,
    root: Path = Path("/"),
    fixed: t.Optional[Runtime] = None,
    mesos: t.Optional[Runtime] = None,
) -> Surroundings:
    """Read the node. `fixed`: look at these directories, whatever containerd and CRI-O say; `mesos`: and Mesos."""
    reading = [fixed] if fixed else [item for item in (_containerd(output, root), _crio(root)) if item]
    single = [item for item in (mesos or _mesos(root),) if item]
    if not reading and not single:
        reading = [Runtime("none")]
    found = Surroundings(reading + single)
    theirs = {runtime.conf_dir for runtime in reading}
    found.shared = sorted({runtime.conf_dir for runtime in single} & theirs)
    for conf_dir in dict.fromkeys(runtime.conf_dir for runtime in reading):
        for path in sorted((root / conf_dir.lstrip("/")).glob("*")):
            if path.suffix in CONF_SUFFIXES and path.name != conf_name:
                files = found.rivals if path.name < conf_name else found.others
                files.append(f"{conf_dir}/{path.name}")
    seen = [runtime.plugins(root) for runtime in reading]
    found.plugins = sorted(set.intersection(*seen)) if seen else []
    return found


def _containerd(output: Output, root: Path) -> t.Optional[Runtime]:
    """As containerd merges its files and defaults, if it tells; else from its file."""
    path = root / CONTAINERD_CONFIG
    dump = output(["containerd", "--config", str(path), "config", "dump"])
    if dump is None and not path.is_file():
        return None
    sections = toml_strings(dump if dump is not None else path.read_text(encoding="utf-8"))
    for name in CONTAINERD_SECTIONS:
        cni = sections.get(f"plugins.{name}", {})
        dirs = cni.get("bin_dirs") or cni.get("bin_dir")
        if cni:
            return Runtime("containerd", tuple(dirs or [BIN_DIR]), (cni.get("conf_dir") or [CONF_DIR])[0])
    return Runtime("containerd")


def _crio(root: Path) -> t.Optional[Runtime]:
    """Later files win."""
    files = [path for pattern in CRIO_CONFIGS for path in sorted(root.glob(pattern))]
    if not files:
        return None
    network: dict[str, list[str]] = {}
    for path in files:
        network.update(toml_strings(path.read_text(encoding="utf-8")).get("crio.network", {}))
    dirs = [path.rstrip("/") for path in network.get("plugin_dirs", []) if path]
    conf_dir = (network.get("network_dir") or [CONF_DIR])[0].rstrip("/")
    return Runtime("cri-o", tuple(dirs or [BIN_DIR]), conf_dir)


def _mesos(root: Path) -> t.Optional[Runtime]:
    """None where no agent of Mesos is told about CNI: both flags are needed."""
    flags: dict[str, str] = {}
    for name in reversed(MESOS_VARIABLES):
        path = root / name
        if path.is_file():
            flags.update(_assignments(path.read_text(encoding="utf-8")))
    found = {key: flags.get(f"MESOS_NETWORK_CNI_{key.upper()}", "") for key in ("config_dir", "plugins_dir")}
    for directory in reversed(MESOS_FLAGS):
        for key in found:
            path = root / directory / f"network_cni_{key}"
            if path.is_file():
                found[key] = path.read_text(encoding="utf-8").strip()
    conf_dir, bin_dirs = found["config_dir"].rstrip("/"), found["plugins_dir"].split(":")
    dirs = tuple(path.rstrip("/") for path in bin_dirs if path)
    return Runtime("mesos", dirs, conf_dir, lists=False) if conf_dir and dirs else None


def _assignments(text: str) -> dict[str, str]:
    """Of a file that a shell or systemd reads."""
    found = re.findall(r"^\s*(?:export\s+)?([A-Z_]+)=[\"']?([^\"'\n]*)", text, re.MULTILINE)
    return dict(found)


def toml_strings(text: str) -> dict[str, dict[str, list[str]]]:
    """Section ► key ► strings of a TOML file; other values are left out. Python has had a reader only since 3.11."""
    found: dict[str, dict[str, list[str]]] = {}
    section: dict[str, list[str]] = found.setdefault("", {})
    open_key = ""
    for raw in text.splitlines():
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        if open_key:  # in an array over several lines
            section[open_key] += _strings(line)
            open_key = "" if "]" in _STRING.sub("", line) else open_key
            continue
        header, value = _SECTION.match(line), _VALUE.match(line)
        if header:
            name = re.sub(r"[\"'\s]", "", header.group("name"))
            section = found.setdefault(name, {})
        elif value:
            strings = _strings(value.group("value"))
            array = value.group("value").startswith("[")
            if strings or array:
                section[value.group("key")] = strings
            open_key = value.group("key") if array and "]" not in _STRING.sub("", value.group("value")) else ""
    return found


def _strings(text: str) -> list[str]:
    return [literal or basic for basic, literal in _STRING.findall(text)]
