# SPDX-License-Identifier: GPL-3.0-or-later
"""`hostnic_files` as Ansible runs it."""

from __future__ import annotations

import json
from pathlib import Path

from tests.support.ansible import ansible

SECRET = "s3cr3t-of-the-account"


def test_the_module_shows_the_difference_but_no_secret(tmp_path: Path) -> None:
    files = [
        {"path": f"{tmp_path}/open", "content": "hello\n"},
        {"path": f"{tmp_path}/closed", "secret": f"key: {SECRET}\n", "mode": "0600"},
    ]
    command = ["ansible", "localhost", "-m", "qingcloud.cni.hostnic_files", "--diff", "-vvvv"]
    (tmp_path / "vars.json").write_text(json.dumps({"wanted": files}))
    shown = ansible(*command, "-e", f"@{tmp_path}/vars.json", "-a", '{"files": "{{ wanted }}"}')
    assert "+hello" in shown and "a secret, changed" in shown
    assert SECRET not in shown and SECRET in (tmp_path / "closed").read_text()
    again = ansible(*command, "-e", f"@{tmp_path}/vars.json", "-a", '{"files": "{{ wanted }}"}')
    assert "CHANGED" not in again and SECRET not in again
