# SPDX-License-Identifier: GPL-3.0-or-later
"""`files/requirements.lock`: third-party packages of the node, pinned and hashed in pip's own format."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from ..hostnic.errors import InvalidConfig

_REQUIREMENT = re.compile(r"^(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9._+!-]+)$")
_HASH = re.compile(r"^--hash=sha256:(?P<digest>[0-9a-f]{64})$")


@dataclass(frozen=True)
class Requirement:
    """One project of the lock; any of the hashes will do, they belong to its different artifacts."""

    name: str
    version: str
    hashes: frozenset[str]

    @property
    def pip_line(self) -> str:
        return " ".join([f"{self.name}=={self.version}", *(f"--hash=sha256:{item}" for item in sorted(self.hashes))])


def canonical(name: str) -> str:
    """The one spelling of a project's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def parse(text: str) -> list[Requirement]:
    """Read the lock. Anything but a pinned requirement with sha256 hashes is an error: nothing goes unverified."""
    requirements = []
    for line in text.replace("\\\n", " ").splitlines():
        words = line.split("#", 1)[0].split()
        if not words:
            continue
        match = _REQUIREMENT.match(words[0])
        hashes = [_HASH.match(word) for word in words[1:]]
        if match is None or not hashes or None in hashes:
            raise InvalidConfig(f"requirements.lock: not a pinned requirement with sha256 hashes: {words[0]}")
        digests = frozenset(item.group("digest") for item in hashes if item)
        requirements.append(Requirement(canonical(match.group("name")), match.group("version"), digests))
    if not requirements:
        raise InvalidConfig("requirements.lock: no requirement in it")
    return requirements


def digest(text: str) -> str:
    """What the lock pins, whatever its comments and order."""
    lines = sorted(requirement.pip_line for requirement in parse(text))
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
