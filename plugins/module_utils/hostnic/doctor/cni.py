# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of what container runtimes read: our configuration is the one that counts, and our plugin is found."""

from __future__ import annotations

import json
import typing as t

from .. import runtimes
from ..errors import HostnicError
from ..runtimes import Runtime
from .agent import ROLL_OUT
from .finding import Seen, error
from .patient import Patient

PLUGIN: t.Final = "qingcni"
OUR_EXECUTABLE: t.Final = f"{runtimes.BIN_DIR}/{PLUGIN}"
LAUNCHER: t.Final = f"/usr/lib/hostnic/current/bin/{PLUGIN}"  # where all links of the role lead

Plugin = t.Mapping[str, t.Any]


def configuration(patient: Patient) -> t.Iterator[Seen]:
    for runtime in _reading(patient):
        found = _configurations(patient, runtime)
        first = next((number for number, (__, plugin) in enumerate(found) if plugin), None)
        if first is None:
            what = f"no CNI configuration in {runtime.conf_dir}, which {runtime.name} reads, is for {PLUGIN}"
            yield error(f"{what}: its pods get no NIC", ROLL_OUT)
            continue
        ours = found[first][0]
        for path, __ in found[:first]:
            what = f"{path} sorts before {ours}, so {runtime.name} uses that and pods get no NIC"
            yield error(what, f"mv {path} {path}.disabled")


def executable(patient: Patient) -> t.Iterator[Seen]:
    for runtime in patient.surroundings().runtimes:
        if PLUGIN in runtime.plugins(patient.reader.root):
            continue
        there = patient.reader.at(OUR_EXECUTABLE).exists() and runtime.bin_dirs[0] != runtimes.BIN_DIR
        link = f"ln -sf {LAUNCHER} {runtime.bin_dirs[0]}/{PLUGIN}"
        what = (
            f"{runtime.name} looks for plugins in {' and '.join(runtime.bin_dirs)}, and there is no {PLUGIN} that runs"
        )
        yield error(f"{what}: its pods do not start", link if there else ROLL_OUT)


def our_plugin(patient: Patient) -> t.Optional[Plugin]:
    """Our entry in the first configuration that has one; None where there is none."""
    try:
        reading = _reading(patient)
    except HostnicError:
        return None
    return next((plugin for one in reading for __, plugin in _configurations(patient, one) if plugin), None)


def _reading(patient: Patient) -> list[Runtime]:
    """Those that take the first file of their directory."""
    return [runtime for runtime in patient.surroundings().runtimes if runtime.lists]


def _configurations(patient: Patient, runtime: Runtime) -> list[tuple[str, t.Optional[Plugin]]]:
    """What it reads, in its order: path, and our plugin's entry where it has one."""
    paths = [path for path in patient.reader.files(runtime.conf_dir) if path.suffix in runtimes.CONF_SUFFIXES]
    return [(patient.reader.shown(path), _entry(path.read_text(encoding="utf-8", errors="replace"))) for path in paths]


def _entry(text: str) -> t.Optional[Plugin]:
    try:
        content = json.loads(text)
    except ValueError:
        return None
    plugins = content.get("plugins", [content]) if isinstance(content, dict) else []
    return next((one for one in plugins if isinstance(one, dict) and one.get("type") == PLUGIN), None)
