# SPDX-License-Identifier: GPL-3.0-or-later
"""The two executables of a node. Like console scripts of pip they carry the interpreter that they were made for."""

from __future__ import annotations

from ..hostnic.errors import InvalidConfig

# The kernel reads this much of a first line (BINPRM_BUF_SIZE on the kernels that systemd 247 runs on is 256).
_LONGEST_SHEBANG = 250

# The shared lock on its version's directory tells hostnic_install that this version must not be removed.
_AGENT = """\
#!{python} -I
# Written by qingcloud.cni.hostnic_install.
import fcntl
import os
import sys

VERSION = "{version}"
held = os.open(VERSION, os.O_RDONLY | os.O_DIRECTORY)
fcntl.flock(held, fcntl.LOCK_SH)
sys.path[:0] = [VERSION, os.path.realpath(VERSION + "/deps")]
from hostnic.commands.cli import main

sys.exit(main())
"""

# Started for every pod: built-in modules only, the body comes compiled, and what is compiled at each start is short.
# Sixteen bytes of header precede the code of a .pyc file (PEP 552); where another interpreter wrote it, or nobody did,
# the source is compiled instead.
_CNI = """\
#!{python} -IS
# Written by qingcloud.cni.hostnic_install.
import marshal
import posix
from _frozen_importlib_external import MAGIC_NUMBER

BODY = "{version}/qingcni.py"
code = None
try:
    file = posix.open(BODY + "c", posix.O_RDONLY | posix.O_CLOEXEC)
    read = posix.read(file, 1048576)
    posix.close(file)
    if read[:4] == MAGIC_NUMBER:
        code = marshal.loads(read[16:])
except (OSError, EOFError, ValueError, TypeError):
    pass
exec(code or compile(open(BODY, "rb").read(), BODY, "exec"), {{"__name__": "__main__", "__file__": BODY}})
"""

TEMPLATES = (_AGENT, _CNI)


def agent(python: str, version: str) -> str:
    """Text of `qingagent` for the version that lies in the directory `version`."""
    return _text(_AGENT, python, version)


def cni(python: str, version: str) -> str:
    """Text of `qingcni`."""
    return _text(_CNI, python, version)


def _text(template: str, python: str, version: str) -> str:
    if any(character.isspace() or character in "\"'\\" for character in python + version):
        raise InvalidConfig(f"a first line cannot name this interpreter or directory: {python}, {version}")
    if len(python) > _LONGEST_SHEBANG:
        raise InvalidConfig(f"the interpreter's path is too long for a first line: {python}")
    return template.format(python=python, version=version)
