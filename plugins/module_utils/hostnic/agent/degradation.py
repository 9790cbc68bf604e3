# SPDX-License-Identifier: GPL-3.0-or-later
"""How much of the cloud may be changed, by an operator's word: the setting, or a file that counts at once."""

from __future__ import annotations

import logging
from pathlib import Path

from .. import guarded
from ..config import Settings
from ..configuration.settings import DEGRADATIONS
from ..errors import InvalidConfig

log = logging.getLogger("hostnic.agent")

FILE = "degradation"  # in the state directory; its text is L0 or L1


class Degradation:
    """Called before each plan. `setting` may be replaced at any time."""

    def __init__(self, settings: Settings) -> None:
        self.setting = settings.degradation
        self._file = Path(settings.statedir) / FILE
        self._before = ""

    def __call__(self) -> str:
        """One of "L0" (no writes), "L1" (no releases), "": the stricter of setting and file; a strange file is L0."""
        try:
            told = guarded.read(self._file).decode("utf-8", "replace").strip()
        except FileNotFoundError:
            told = ""
        except InvalidConfig as error:
            log.warning("%s; until then nothing is changed in the cloud", error.message)
            told = "L0"
        except OSError as error:
            log.warning("cannot read %s, so nothing is changed in the cloud: %s", self._file, error.strerror)
            told = "L0"
        if told not in DEGRADATIONS:
            log.warning("%s says %r, neither L0 nor L1: nothing is changed in the cloud", self._file, told[:40])
            told = "L0"
        level = min(filter(None, (told, self.setting)), default="")
        if level != self._before:
            log.warning("degradation is %s now", level or "over")
            self._before = level
        return level
