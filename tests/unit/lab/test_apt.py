# SPDX-License-Identifier: GPL-3.0-or-later
"""The machine's own Debian mirror, in both forms of apt's source lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab import apt
from tests.lab.apt import Source
from tests.lab.errors import LabError

DEB822 = """\
Types: deb deb-src
# a comment inside
URIs: http://mirror.example/debian
 http://second.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://sources.example/debian
Suites: bookworm
Components: main
"""

LIST = """\
# deb http://commented.example/debian bookworm main
deb-src http://sources.example/debian bookworm main
deb [arch=amd64 signed-by=/etc/apt/keyrings/a.gpg] http://mirror.example/debian bookworm main contrib # why
deb http://other.example/apt nodistro other
"""


def test_deb822() -> None:
    found = apt.parse_deb822(DEB822)
    assert [source.uri for source in found] == [
        "http://mirror.example/debian",
        "http://second.example/debian",
        "http://mirror.example/debian-security",
    ]
    assert found[0] == Source(
        "http://mirror.example/debian",
        ("bookworm", "bookworm-updates"),
        ("main", "contrib"),
        "/usr/share/keyrings/debian-archive-keyring.gpg",
    )
    assert found[2].keyring is None


def test_an_inline_key_is_no_keyring() -> None:
    text = "Types: deb\nURIs: http://m.example/d\nSuites: s\nComponents: main\nSigned-By:\n -----BEGIN\n .\n abc\n"
    assert apt.parse_deb822(text)[0].keyring is None


def test_one_line_form() -> None:
    assert apt.parse_list(LIST) == [
        Source("http://mirror.example/debian", ("bookworm",), ("main", "contrib"), "/etc/apt/keyrings/a.gpg"),
        Source("http://other.example/apt", ("nodistro",), ("other",), None),
    ]


def test_another_suite_comes_from_the_archive_of_our_own() -> None:
    sources = [
        Source("http://vendor.example", ("bookworm",), ("stable",)),
        Source("http://mirror.example/debian-security", ("bookworm-security",), ("main",)),
        Source("http://mirror.example/debian", ("bookworm",), ("main",)),
        Source("http://next.example/debian", ("sid",), ("main",)),
    ]
    assert apt.mirror(sources, "bookworm", "bookworm").uri == "http://mirror.example/debian"
    assert apt.mirror(sources, "trixie", "bookworm").uri == "http://mirror.example/debian"
    assert apt.mirror(sources, "sid", "bookworm").uri == "http://next.example/debian"


def test_no_archive_is_said() -> None:
    with pytest.raises(LabError, match="name no Debian archive for trixie"):
        apt.mirror([], "trixie", "bookworm")


def test_both_forms_are_read_from_the_machine(tmp_path: Path) -> None:
    lists = tmp_path / "apt/sources.list.d"
    lists.mkdir(parents=True)
    (tmp_path / "os-release").write_text('ID=debian\nVERSION_CODENAME="bookworm"\n')
    (tmp_path / "apt/sources.list").write_text("deb http://plain.example/debian bookworm main\n")
    assert apt.machine_mirror("trixie", tmp_path).uri == "http://plain.example/debian"
    (lists / "debian.sources").write_text(DEB822)
    assert apt.machine_mirror("bookworm", tmp_path).uri == "http://mirror.example/debian"
