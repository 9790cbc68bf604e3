# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules as Ansible runs them, several in one playbook: a process for each would take a second."""

from __future__ import annotations

import json
import sys
import typing as t
from pathlib import Path

import yaml

from tests.support.ansible import ansible


class Task(t.NamedTuple):
    """`check`: in check mode."""

    module: str
    arguments: t.Mapping[str, t.Any]
    check: bool = False


def results(directory: Path, tasks: t.Sequence[Task]) -> list[dict[str, t.Any]]:
    """What each said, on this machine; a task that fails does not stop the next."""
    said = directory / "said.json"
    steps: list[dict[str, t.Any]] = [
        {
            task.module: dict(task.arguments),
            "check_mode": task.check,
            "diff": True,
            "register": f"said_{number}",
            "ignore_errors": True,
        }
        for number, task in enumerate(tasks)
    ]
    every = ", ".join(f"said_{number}" for number in range(len(tasks)))
    content = {"content": f"{{{{ [{every}] | to_json }}}}", "dest": str(said), "mode": "0600"}
    steps.append({"ansible.builtin.copy": content, "no_log": True})
    play = {"hosts": "localhost", "connection": "local", "gather_facts": False, "tasks": steps}
    play["vars"] = {"ansible_python_interpreter": sys.executable}
    book = directory / "book.yml"
    book.write_text(yaml.safe_dump([play]))
    ansible("ansible-playbook", "-i", "localhost,", str(book))
    told: list[dict[str, t.Any]] = json.loads(said.read_text())
    return told
