# SPDX-License-Identifier: GPL-3.0-or-later
"""Third-party packages for a module, on machines whose Python has none: found, or laid down and found next time.

The other half is `plugins/plugin_utils/packages.py` on the control host: it calls the module, and once more with the
packages where the answer is `MISSING`.
"""

from __future__ import annotations

import os
import pwd
import sys
import typing as t
from pathlib import Path

from ..hostnic.errors import HostnicError
from . import artifacts, shelf
from .host import check_python

if t.TYPE_CHECKING:
    from ansible.module_utils.basic import AnsibleModule

# Set by the action plugin: `lock`, the text of files/requirements.lock; `archive`, a tar of packages on this machine.
OPTION: t.Final = "packages"
ARGUMENTS: t.Final[t.Mapping[str, t.Any]] = {OPTION: {"type": "dict", "default": {}}}
MISSING: t.Final = "missing_packages"


def use(module: AnsibleModule) -> None:
    """Make the packages importable; what needs them is imported afterwards.

    Ends the module where they are missing, with a result that the action plugin answers, and where the machine is no
    good for them, with a sentence. Check mode leaves nothing behind.
    """
    try:
        check_python()
        found = _find(module)
    except HostnicError as error:
        module.fail_json(msg=error.message, code=error.kind)
    except OSError as error:
        module.fail_json(msg=f"packages cannot be laid down on this machine: {error}")
    if found is None:
        module.exit_json(changed=False, **{MISSING: artifacts.Node.here().to_dict()})
    if found:
        sys.path.insert(0, found)


def _find(module: AnsibleModule) -> t.Optional[str]:
    """The directory of the packages; "" where Python has them anyway, None where they have to be sent."""
    given: t.Mapping[str, t.Any] = module.params[OPTION]
    if not given.get("lock"):
        if _installed():
            return ""
        raise HostnicError(
            "this machine's Python lacks qingcloud-sdk and PyYAML, and nobody sent them: call the module by the name "
            "that its action plugin has, qingcloud.cni." + module._name
        )
    found = laid(given["lock"])
    if found is not None:
        return found
    if _installed():
        return ""
    if not given.get("archive"):
        return None
    places = [Path(module.tmpdir) / OPTION] if module.check_mode else _places()
    name = shelf.deps_name(given["lock"])
    return str(_lay(places, name, given) / name)


def laid(lock_text: str) -> t.Optional[str]:
    """The directory in which the lock's packages lie on this machine, None where they do not."""
    name = shelf.deps_name(lock_text)
    found = (place / name for place in _places() if shelf.Shelf(place).has_deps(name) and _trusted(place / name))
    return next(map(str, found), None)


def _places() -> list[Path]:
    """Not by HOME, which becoming root may have left another user's."""
    return [Path(shelf.ROOT), Path(pwd.getpwuid(os.geteuid()).pw_dir) / ".cache/qingcloud.cni"]


def _trusted(directory: Path) -> bool:
    """Whether nobody but root or this user can have put code there."""
    return directory.stat().st_uid in (0, os.geteuid())


def _lay(places: t.Sequence[Path], name: str, given: t.Mapping[str, t.Any]) -> Path:
    """Below the first place that may be written; returns that place."""
    for place in places:
        there = shelf.Shelf(place)
        try:
            with there.locked():
                if not there.has_deps(name):
                    there.unpack(name, given["lock"], given["archive"])
            return place
        except OSError:
            if place == places[-1]:
                raise
    raise HostnicError("there is no place for packages")


def _installed() -> bool:
    try:
        import qingcloud.iaas.connection  # type: ignore[import-untyped]  # noqa: F401
        import yaml  # noqa: F401
    except ImportError:
        return False
    return True
