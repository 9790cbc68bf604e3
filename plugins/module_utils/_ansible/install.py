# SPDX-License-Identifier: GPL-3.0-or-later
"""The use case behind `hostnic_install`: compare the node with what should be there, then lay down and activate."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field
from pathlib import Path

from ..hostnic.errors import HostnicError
from . import artifacts, fsio, payload
from .host import Systemctl
from .tree import CURRENT, PREVIOUS, Tree, fingerprint

DEFAULT_UNIT_DIR: t.Final = Path("/etc/systemd/system")

SYSTEMD_RUNS: t.Final = Path("/run/systemd/system")  # sd_booted(3)


@dataclass(frozen=True)
class Places:
    """Where things go on the node."""

    root: Path
    sbin_dir: Path
    bin_dir: Path
    unit_dir: Path

    @property
    def launchers(self) -> dict[Path, str]:
        """Link ► what it points at: always the current version's."""
        return {
            self.sbin_dir / "qingagent": str(self.root / CURRENT / "bin/qingagent"),
            self.bin_dir / "qingcni": str(self.root / CURRENT / "bin/qingcni"),
        }


@dataclass
class Picture:
    """What matters of a node, before or after; equal pictures mean that nothing changed."""

    current: t.Optional[str] = None
    previous: t.Optional[str] = None
    versions: list[str] = field(default_factory=list)
    facts: dict[str, t.Any] = field(default_factory=dict)
    links: dict[Path, t.Optional[str]] = field(default_factory=dict)
    units: dict[Path, t.Optional[str]] = field(default_factory=dict)

    def text(self) -> str:
        """For diff mode: one line a fact, so that only what differs shows."""
        lines = [f"current {self.current}", f"previous {self.previous}"]
        lines += [f"laid down {name}" for name in self.versions]
        lines += [f"{key} {self.facts[key]}" for key in ("version", "python", "deps") if key in self.facts]
        lines += [f"link {path} -> {target}" for path, target in sorted(self.links.items()) if target]
        lines += [f"unit {path} {seen}" for path, seen in sorted(self.units.items()) if seen]
        lines += [f"file {path} {seen[:12]}" for path, seen in sorted(self.facts.get("files", {}).items())]
        return "\n".join(lines) + "\n"


class Installer:
    """One run. Every method returns the facts of the result; `check` means: only say what would be."""

    def __init__(self, places: Places, systemctl: Systemctl, keep: int = 0, check: bool = False) -> None:
        self.places = places
        self.systemctl = systemctl
        self.keep = keep
        self.check = check
        self.tree = Tree(places.root)

    def present(
        self, version: payload.Version, lock_text: str, archive: t.Optional[str], activate: bool
    ) -> dict[str, t.Any]:
        """Lay the version down; activate it too, or (`staged`) not yet. Asks for artifacts where they are missing."""
        needs_deps = not self.tree.has_deps(version.deps)
        if needs_deps and not archive and not self.check:
            return {"changed": False, "missing": artifacts.Node.here().to_dict(), "digest": version.digest}
        before = self._picture(version)
        lies_here = self.tree.lies_here(version)
        after = self._with(before, version, activate)
        if not self.check and (needs_deps or not lies_here or before != after):
            with self.tree.locked():
                if needs_deps and archive:
                    self.tree.unpack(version.deps, lock_text, archive)
                if not lies_here:
                    self.tree.lay_version(version)
                if activate:
                    self._activate(version.digest, before, after)
        gone = self._prune(after) if activate else []
        changed = needs_deps or not lies_here or before != after or bool(gone)
        idle = before == self._with(before, version, activate=True) and not self._unused(before)
        facts = {
            "active": lies_here and not needs_deps and idle,
            "digest": version.digest,
            "version_path": str(version.directory),
            "deps_path": str(self.places.root / version.deps),
        }
        return {**self._result(before, after, changed, gone), **facts}

    def rolled_back(self, digest: t.Optional[str]) -> dict[str, t.Any]:
        """Activate the previous version, or that one."""
        target = digest or self.tree.active(PREVIOUS)
        if not target or target == self.tree.active() and not digest:
            raise HostnicError("there is no previous version on this node to go back to")
        manifest = self.tree.manifest(target)
        if not manifest:
            raise HostnicError(
                f"version {target} is not on this node; it has {', '.join(self.tree.versions()) or 'none'}"
            )
        if not self.tree.has_deps(manifest["deps"]):
            raise HostnicError(f"version {target} cannot be used: its {manifest['deps']} is gone")
        before = self._picture()
        after = self._picture()
        self._aim(after, target, manifest, self.tree.units(target))
        if not self.check and before != after:
            with self.tree.locked():
                self._activate(target, before, after)
        return self._result(before, after, before != after, [])

    def pruned(self) -> dict[str, t.Any]:
        """Remove what is laid down but not in use: after a preflight that failed, everything that it staged."""
        before = self._picture()
        gone = self._prune(before)
        after = self._picture()
        after.versions = [name for name in before.versions if name not in gone]
        return self._result(before, after, bool(gone), gone)

    def absent(self) -> dict[str, t.Any]:
        """Remove all of it. The agent must have been stopped."""
        before = self._picture(every=True)
        running = [name for name in before.versions if self.tree.in_use(name)]
        if running:
            raise HostnicError("the agent runs: stop it first with systemctl stop qingagent.service qingagent.socket")
        there = self.places.root.is_dir() or any(before.links.values()) or any(before.units.values())
        if there and not self.check:
            for link in before.links:
                if fsio.target(link) == self.places.launchers[link]:
                    fsio.remove(link)
            for unit in before.units:
                fsio.remove(unit)
            if self.places.root.is_dir():
                with self.tree.locked():
                    fsio.remove(self.places.root / CURRENT)
                    fsio.remove(self.places.root / PREVIOUS)
                    self.tree.drop(self.tree.unused(0, None, None))
                    self.tree.clear()
            self._reload(before.units, {})
        return self._result(before, Picture(), bool(there), before.versions)

    # -- pictures --

    def _picture(self, version: t.Optional[payload.Version] = None, every: bool = False) -> Picture:
        """The node as it is. Units of the wanted version count even where none is active, or those of `every` one."""
        current = self.tree.active()
        names = set(self.tree.units(current)) | set(_units(version) if version else {})
        names.update(name for digest in self.tree.versions() if every for name in self.tree.units(digest))
        places = [self.places.unit_dir / name for name in sorted(names)]
        return Picture(
            current=current,
            previous=self.tree.active(PREVIOUS),
            versions=sorted(self.tree.versions()),
            facts=self.tree.manifest(current),
            links={link: fsio.target(link) for link in self.places.launchers},
            units={path: fingerprint(fsio.read(path)) for path in places},
        )

    def _with(self, before: Picture, version: payload.Version, activate: bool) -> Picture:
        """The node as it should be."""
        after = Picture(**vars(before))
        after.versions = sorted({*before.versions, version.digest})
        if activate:
            self._aim(after, version.digest, version.manifest, _units(version))
            stay = set(after.versions) - set(self.tree.unused(self.keep, after.current, after.previous))
            after.versions = sorted(stay)
        return after

    def _aim(self, after: Picture, digest: str, manifest: t.Mapping[str, t.Any], units: t.Mapping[str, bytes]) -> None:
        if after.current and after.current != digest:
            after.previous = after.current
        after.current = digest
        after.facts = dict(manifest)
        after.links = dict(self.places.launchers)
        after.units = {
            **dict.fromkeys(after.units),
            **{self.places.unit_dir / name: fingerprint(units[name]) for name in units},
        }

    def _result(self, before: Picture, after: Picture, changed: bool, gone: t.Sequence[str]) -> dict[str, t.Any]:
        headers = dict.fromkeys(("before_header", "after_header"), str(self.places.root))
        return {
            "changed": changed,
            "digest": after.current,
            "current": after.current,
            "previous": after.previous,
            "version": after.facts.get("version"),
            "python": after.facts.get("python"),
            "root": str(self.places.root),
            "removed": list(gone),
            "diff": {**headers, "before": before.text(), "after": after.text()},
        }

    # -- changes --

    def _activate(self, digest: str, before: Picture, after: Picture) -> None:
        """Units first: systemd reads them when it is told to, and it is told after the version is current."""
        units = {self.places.unit_dir / name: content for name, content in self.tree.units(digest).items()}
        for path, wanted in after.units.items():
            if path in units and wanted != before.units.get(path):
                fsio.replace(path, units[path])
        self.tree.activate(digest)
        for link, goal in self.places.launchers.items():
            if fsio.target(link) != goal:
                fsio.point(link, goal)
        for path in set(after.units) - set(units):
            fsio.remove(path)
        self._reload(before.units, after.units)

    def _reload(self, before: t.Mapping[Path, t.Any], after: t.Mapping[Path, t.Any]) -> None:
        """Have systemd read the units again where they changed and it reads them at all."""
        if before == after or self.places.unit_dir != DEFAULT_UNIT_DIR or not SYSTEMD_RUNS.is_dir():
            return
        status, output = self.systemctl("daemon-reload")
        if status != 0:
            raise HostnicError(f"systemctl daemon-reload failed: {output.strip()}")

    def _unused(self, seen: Picture) -> list[str]:
        return self.tree.unused(self.keep, seen.current, seen.previous)

    def _prune(self, seen: Picture) -> list[str]:
        gone = self._unused(seen)
        if gone and not self.check:
            with self.tree.locked():
                self.tree.drop(gone)
        if not self.check and not seen.current and self.places.root.is_dir() and not self.tree.versions():
            self.tree.clear()
        return gone


def _units(version: payload.Version) -> dict[str, bytes]:
    return {Path(name).name: data for name, data in version.files.items() if name.startswith("units/")}
