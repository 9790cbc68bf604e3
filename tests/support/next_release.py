# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as a release after this one might be: another protocol, another schema of the journal."""

from __future__ import annotations

import shutil
import subprocess
import typing as t
from pathlib import Path

CLONE = Path(__file__).resolve().parents[2]
PACKAGE = "plugins/module_utils/hostnic"

# File ► text there ► text of the next release.
Changes = t.Mapping[str, t.Mapping[str, str]]

PROTOCOL: Changes = {
    f"{PACKAGE}/wire.py": {"PROTOCOL: t.Final = 1\n": "PROTOCOL: t.Final = 2\n"},
    "files/qingcni.py": {"\nPROTOCOL = 1\n": "\nPROTOCOL = 2\n"},
}
# Starts, opens the journal, and dies each time.
BROKEN: Changes = {
    f"{PACKAGE}/agent/service.py": {
        "    network = HostNetwork(": '    raise SystemExit("never tried out")\n    network = HostNetwork('
    },
}


def schema(column: str) -> Changes:
    """A schema of the journal after the last one: NICs have this column too."""
    step = f"""
MIGRATIONS += (
    Migration(
        MIGRATIONS[-1].version + 1,
        up=("ALTER TABLE nic ADD COLUMN {column} TEXT NOT NULL DEFAULT 'light'",),
        down=("ALTER TABLE nic DROP COLUMN {column}",),
    ),
)
SCHEMA: t.Final = """
    return {
        f"{PACKAGE}/store/migrations.py": {"\nSCHEMA: t.Final = ": step},
        f"{PACKAGE}/model.py": {"    marked: float = 0.0\n": f'    marked: float = 0.0\n    {column}: str = "light"\n'},
    }


def package(into: Path, *changes: Changes) -> Path:
    """The package alone, as `into/hostnic`."""
    shutil.copytree(CLONE / PACKAGE, into / "hostnic", ignore=shutil.ignore_patterns("__pycache__"))
    _change(changes, lambda name: into / "hostnic" / Path(name).relative_to(PACKAGE), PACKAGE)
    return into / "hostnic"


def collection(into: Path, *changes: Changes) -> Path:
    """The collection without its tests, to run playbooks from; the checkout stays as it is."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=CLONE, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        source = CLONE / name
        if name.startswith("tests/") or not source.exists():
            continue
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, into / name, follow_symlinks=False)
    _change(changes, lambda name: into / name, "")
    return into


def _change(changes: t.Iterable[Changes], place: t.Callable[[str], Path], below: str) -> None:
    for name, texts in [item for one in changes for item in one.items() if item[0].startswith(below)]:
        path = place(name)
        for before, after in texts.items():
            text = path.read_text(encoding="utf-8")
            if before not in text:
                raise AssertionError(f"{name} has no {before!r} any more: this next release has to be told anew")
            path.write_text(text.replace(before, after), encoding="utf-8")
