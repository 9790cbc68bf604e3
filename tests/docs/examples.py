# SPDX-License-Identifier: GPL-3.0-or-later
"""Examples held against the options that they set: of modules and the inventory plugin, and variables of roles."""

from __future__ import annotations

import json
import typing as t

import yaml
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator  # type: ignore[import-untyped]

from tests.docs.pages import CLONE
from tests.support.ansible import ansible

COLLECTION: t.Final = "qingcloud.cni"
ROLES: t.Final = ("qingagent", "qingcni")
_TASKS: t.Final = ("tasks", "pre_tasks", "post_tasks", "handlers", "block", "rescue", "always")
# Of a value that only Ansible knows ► one that fits.
_ANY: t.Final[t.Mapping[str, t.Any]] = {"int": 1, "float": 1.0, "bool": True, "list": [], "dict": {}}


def plugins(kind: str) -> dict[str, dict[str, t.Any]]:
    """Full name ► what `ansible-doc` tells of it, fragments included. `kind`: module or inventory."""
    directory = CLONE / "plugins" / {"module": "modules"}.get(kind, kind)
    names = sorted(f"{COLLECTION}.{path.stem}" for path in directory.glob("*.py") if path.stem != "__init__")
    if not names:
        return {}
    told: dict[str, dict[str, t.Any]] = json.loads(ansible("ansible-doc", "-t", kind, "--json", *names))
    return told


def tasks(document: t.Any) -> t.Iterator[dict[str, t.Any]]:
    """Of tasks, plays and blocks, however deep."""
    for item in document if isinstance(document, list) else [document]:
        inner = [item[key] for key in _TASKS if key in item]
        if not inner:
            yield item
        for one in inner:
            yield from tasks(one)


def complaints(options: t.Mapping[str, t.Any], given: t.Mapping[str, t.Any]) -> list[str]:
    """What an argument spec of these documented options says about these values."""
    spec = _spec(options)
    values = {name: _fitting(spec.get(name, {}), value) for name, value in given.items()}
    return list(ArgumentSpecValidator(spec).validate(values).error_messages)


def variables() -> dict[str, t.Any]:
    """Of both roles: name ► its documented option."""
    found: dict[str, t.Any] = {}
    for role in ROLES:
        path = CLONE / "roles" / role / "meta/argument_specs.yml"
        found.update(yaml.safe_load(path.read_text(encoding="utf-8"))["argument_specs"]["main"]["options"])
    return found


def facts() -> set[str]:
    """Names that the roles set for others to use."""
    found: set[str] = set()
    for role in ROLES:
        for path in (CLONE / "roles" / role / "tasks").glob("*.yml"):
            for task in tasks(yaml.safe_load(path.read_text(encoding="utf-8"))):
                found.update(task.get("ansible.builtin.set_fact", {}))
    return found


def set_variables(document: t.Any) -> t.Iterator[tuple[str, t.Any]]:
    """Every variable with a role's name, wherever it stands in an inventory, a play or a file of variables."""
    if isinstance(document, dict):
        for name, value in document.items():
            if str(name).startswith(tuple(f"{role}_" for role in ROLES)):
                yield name, value
            else:
                yield from set_variables(value)
    elif isinstance(document, list):
        for one in document:
            yield from set_variables(one)


def _spec(options: t.Mapping[str, t.Any]) -> dict[str, t.Any]:
    kept = ("type", "elements", "required", "choices", "aliases")
    spec: dict[str, t.Any] = {}
    for name, option in options.items():
        spec[name] = {key: option[key] for key in kept if key in option}
        if "suboptions" in option or "options" in option:
            spec[name]["options"] = _spec(option.get("suboptions") or option["options"])
    return spec


def _fitting(option: t.Mapping[str, t.Any], value: t.Any) -> t.Any:
    if isinstance(value, str) and "{{" in value:
        return next(iter(option.get("choices", ())), _ANY.get(option.get("type", "str"), "text"))
    return value
