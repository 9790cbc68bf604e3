# SPDX-License-Identifier: GPL-3.0-or-later
"""The Debian mirror that this machine itself uses."""

from __future__ import annotations

import shlex
import typing as t
from dataclasses import dataclass
from pathlib import Path

from tests.lab.errors import LabError
from tests.lab.sh import run


@dataclass(frozen=True)
class Source:
    """One archive with the suites and components taken from it."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]
    keyring: str | None = None


def parse_deb822(text: str) -> list[Source]:
    """Stanzas of a ``*.sources`` file that are enabled and hold binary packages."""
    sources = []
    for stanza in _stanzas(text):
        if "deb" not in stanza.get("types", "").split() or stanza.get("enabled", "yes").lower() == "no":
            continue
        suites, components = stanza.get("suites", "").split(), stanza.get("components", "").split()
        key = stanza.get("signed-by", "")
        keyring = key if key.startswith("/") else None
        sources += [Source(uri, tuple(suites), tuple(components), keyring) for uri in stanza.get("uris", "").split()]
    return sources


def _stanzas(text: str) -> t.Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    field = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, field = {}, ""
        elif line[0] in " \t":
            stanza[field] = f"{stanza.get(field, '')} {line.strip()}"
        else:
            name, _, value = line.partition(":")
            field = name.strip().lower()
            stanza[field] = value.strip()


def parse_list(text: str) -> list[Source]:
    """Lines of a ``sources.list``."""
    sources = []
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if not words or words[0] != "deb":
            continue
        options = ""
        rest = " ".join(words[1:])
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        keyring = next((word[len("signed-by=") :] for word in options.split() if word.startswith("signed-by=/")), None)
        fields = rest.split()
        if len(fields) > 2:
            sources.append(Source(fields[0], (fields[1],), tuple(fields[2:]), keyring))
    return sources


def mirror(sources: t.Sequence[Source], suite: str, own: str) -> Source:
    """Where to get ``suite`` from: what names it, else the archive that this machine's release comes from."""
    main = [source for source in sources if "main" in source.components]
    for wanted in (suite, own, "stable"):
        for source in main:
            if wanted in source.suites:
                return source
    raise LabError(f"this machine's apt sources name no Debian archive for {suite} or {own}")


def machine_mirror(suite: str, etc: Path = Path("/etc")) -> Source:
    """From the machine's own sources, whichever form they have."""
    apt = etc / "apt"
    sources: list[Source] = []
    for path in sorted((apt / "sources.list.d").glob("*.sources")):
        sources += parse_deb822(path.read_text())
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*.list"))]:
        if path.exists():
            sources += parse_list(path.read_text())
    release = dict(line.split("=", 1) for line in (etc / "os-release").read_text().splitlines() if "=" in line)
    return mirror(sources, suite, release.get("VERSION_CODENAME", suite).strip('"'))


def proxy() -> dict[str, str]:
    """apt's proxy in the words of debootstrap's downloader."""
    said = run(["apt-config", "shell", "P", "Acquire::http::Proxy"], check=False).stdout
    words = shlex.split(said)
    return {"http_proxy": words[0][2:]} if words and words[0].startswith("P=") else {}
