# SPDX-License-Identifier: GPL-3.0-or-later
"""``python -m tests.quality [CHECK ...]``; ``--list`` names them. All of them are `make lint`."""

from __future__ import annotations

import argparse
import functools
import sys
import tempfile
import typing as t
from pathlib import Path

from tests.lab.progress import Progress
from tests.quality import artifact, functional, pythons, static
from tests.quality.ansibletest import CORE, PIP, programs_of
from tests.quality.errors import CheckError

# Quick things first.
CHECKS: dict[str, t.Callable[[artifact.Artifact], None]] = {
    "ruff": static.ruff,
    "mypy": static.mypy,
    "yamllint": static.yamllint,
    "changelog": static.changelog,
    "vermin": static.vermin,
    "compile": pythons.compiled,
    "docs": static.docs,
    "docs-site": static.docs_site,
    "importer": static.importer,
    "ansible-lint": static.ansible_lint,
    "units": functools.partial(functional.units, CORE),
    **{f"sanity-{core}": functools.partial(static.sanity, core) for core in PIP},
    **{f"integration-{core}": functools.partial(functional.targets, core) for core in PIP},
    **{f"roles-{core}": functools.partial(functional.roles, core) for core in PIP if core != CORE},
}
MORE: dict[str, t.Callable[[artifact.Artifact], None]] = {"pythons": pythons.tested}


def main(argv: t.Optional[t.Sequence[str]] = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.quality", description="What tools say of the collection.")
    parser.add_argument("checks", nargs="*", metavar="CHECK", help="by default all")
    parser.add_argument("--list", action="store_true", help="name the checks")
    arguments = parser.parse_args(argv)
    known = {**CHECKS, **MORE}
    unknown = sorted(set(arguments.checks) - set(known))
    if unknown:
        parser.error(f"{', '.join(unknown)}: there are {', '.join(known)}")
    if arguments.list:
        sys.stdout.write("".join(f"{name}\n" for name in known))
        return 0
    with tempfile.TemporaryDirectory(prefix="quality.") as directory:
        return _run({name: known[name] for name in arguments.checks or CHECKS}, Path(directory))


def _run(checks: t.Mapping[str, t.Callable[[artifact.Artifact], None]], directory: Path) -> int:
    progress = Progress()
    failed: dict[str, str] = {}
    built: t.Optional[artifact.Artifact] = None
    for name, check in checks.items():
        try:
            if built is None:
                with progress.step("artifact"):
                    built = artifact.build(programs_of(CORE) / "ansible-galaxy", directory)
            with progress.step(name):
                check(built)
        except CheckError as error:
            failed[name] = str(error)
            if built is None:
                break
    for name, text in failed.items():
        progress.line(f"\n{name}\n{text}")
    progress.line(f"\n{len(checks) - len(failed)} checks passed, {len(failed)} failed {' '.join(failed)}".rstrip())
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
