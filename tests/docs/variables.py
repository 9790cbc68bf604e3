# SPDX-License-Identifier: GPL-3.0-or-later
"""docs/guides/variables.md, drawn from the argument specifications and defaults of the roles."""

from __future__ import annotations

import json
import re
import typing as t

import yaml

from tests.docs.pages import CLONE

ROLES: t.Final = ("qingagent", "qingcni")
# Ansible's semantic markup ► Markdown.
_CODE = re.compile(r"\b([CVOEP])\(([^()]*)\)")


def page() -> str:
    lines = [
        "# Variables",
        "",
        "All variables of the two roles, in the order of their defaults; `ansible-doc -t role qingcloud.cni.qingagent`",
        "tells the same. Set them in the inventory. Drawn by `python -m tests.docs variables`, compared by",
        "`tests/unit/test_docs.py`.",
        "",
        "Durations are written like `90s`, `10m` or `24h`, rates like `5/s`. A setting of the agent, such as",
        "`qingagent_pool_low`, is the key `pool-low` of `/etc/qingagent/QingAgent.yaml`, the flag `--pool-low` and the",
        "environment variable `QINGAGENT_POOL_LOW`.",
    ]
    for role in ROLES:
        lines += ["", f"## {role}", "", "| variable | default | meaning |", "|---|---|---|", *_rows(role)]
    return "\n".join(lines) + "\n"


def _rows(role: str) -> t.Iterator[str]:
    spec = _load(role, "meta/argument_specs.yml")["argument_specs"]["main"]["options"]
    defaults = _load(role, "defaults/main.yml")
    for name, option in spec.items():
        yield f"| `{name}` | {_default(defaults.get(name))} | {meaning(option)} |"
        for inner, detail in option.get("options", {}).items():
            yield f"| &nbsp;&nbsp;`{inner}` of each | | {meaning(detail)} |"


def meaning(option: t.Mapping[str, t.Any]) -> str:
    """Its description in Markdown, with what may be chosen."""
    told = option["description"]
    text = " ".join(told) if isinstance(told, list) else str(told)
    choices = [str(choice) for choice in option.get("choices", ()) if choice != ""]
    if choices:
        text += f" One of {', '.join(f'`{choice}`' for choice in choices)}."
    if option.get("required"):
        text += " Required."
    return _CODE.sub(_code, " ".join(text.split())).replace("|", "\\|")


def _code(found: re.Match[str]) -> str:
    """`O(collection.name.role#role:main:option)` and `P(name#role)` are cut to the name."""
    kind, text = found.groups()
    if kind in "OP":
        text = text.rpartition(":")[2].partition("#")[0]
    return f"`{text}`"


def _default(value: t.Any) -> str:
    if value is None or value == "" or value == []:
        return ""
    if isinstance(value, str) and "{{" in value:
        return "*derived*"
    text = value if isinstance(value, str) else json.dumps(value)
    return f"`{text}`"


def _load(role: str, path: str) -> t.Any:
    return yaml.safe_load((CLONE / "roles" / role / path).read_text(encoding="utf-8"))
