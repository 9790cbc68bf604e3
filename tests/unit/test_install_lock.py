# SPDX-License-Identifier: GPL-3.0-or-later
"""The lock: only what is pinned and hashed passes, and the digest says what is pinned, not how it is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from plugins.module_utils._ansible import artifacts, lock
from plugins.module_utils.hostnic.errors import InvalidConfig

LOCK = Path("files/requirements.lock").resolve()
A, B = "a" * 64, "b" * 64


def test_requirements_are_read_with_all_their_hashes() -> None:
    text = (
        f"# why\nPyYAML==6.0.3 \\\n    --hash=sha256:{A} \\\n    --hash=sha256:{B}\nfuture==1.0.0 --hash=sha256:{A}\n"
    )
    yaml, future = lock.parse(text)
    assert (yaml.name, yaml.version, yaml.hashes) == ("pyyaml", "6.0.3", {A, B})
    assert future.pip_line == f"future==1.0.0 --hash=sha256:{A}"


@pytest.mark.parametrize(
    "line",
    [
        "pyroute2==0.9.7",
        f"pyroute2>=0.9 --hash=sha256:{A}",
        f"pyroute2==0.9.7 --hash=md5:{A}",
        f"pyroute2==0.9.7 --hash=sha256:{A[1:]}",
        f"pyroute2==0.9.7 --hash=sha256:{A} --pre",
        "-r other.txt",
        "",
    ],
)
def test_anything_less_is_refused(line: str) -> None:
    with pytest.raises(InvalidConfig, match="requirements.lock"):
        lock.parse(line)


def test_the_digest_ignores_comments_and_order() -> None:
    one, two = f"future==1.0.0 --hash=sha256:{A}", f"pyroute2==0.9.7 --hash=sha256:{B}"
    assert lock.digest(f"# x\n{one}\n{two}\n") == lock.digest(f"{two} \\\n\n{one}\n")
    assert lock.digest(one) != lock.digest(one.replace(A, B))


def test_of_everything_in_our_lock_something_is_unpacked() -> None:
    assert {requirement.name for requirement in lock.parse(LOCK.read_text())} == set(artifacts.PACKAGES)
