# SPDX-License-Identifier: GPL-3.0-or-later
"""The one place where an error of the package becomes a module's failure."""

from __future__ import annotations

import typing as t

from ..hostnic.errors import HostnicError

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule


def run(module: AnsibleModule, use_case: t.Callable[[], t.Mapping[str, t.Any]]) -> t.NoReturn:
    """End the module with what the use case returns or with what it raises."""
    try:
        result = use_case()
    except HostnicError as error:
        module.fail_json(**failure(error))
    module.exit_json(**result)


def failure(error: HostnicError) -> dict[str, t.Any]:
    """`msg`, `code` (which error of `hostnic.errors`), what the API said of it in `action` and `ret_code`.

    Also `changed`, where the use case tells whether something was by then.
    """
    told = ("action", "ret_code", "changed")
    said = {name: error.details[name] for name in told if error.details.get(name) is not None}
    return {"msg": error.message, "code": error.kind, **said}
