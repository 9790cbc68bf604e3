# SPDX-License-Identifier: GPL-3.0-or-later
"""The executables of a node. Like console scripts of pip they carry the interpreter that they were made for."""

from __future__ import annotations

import shlex

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

# Started for every pod. The kernel takes longer to move a NIC than an interpreter to start, so an ADD or a DEL goes
# ahead of qingcni, by a file that is open as long as this process: docs/wire.md.
_CNI = """\
#!/bin/sh
# Written by qingcloud.cni.hostnic_install.
qingcni() {{
    exec {shell_python} -IS {shell_version}/qingcni-start.py "$@"
}}
ahead=/run/qingagent/ahead
case $CNI_COMMAND:$CNI_NETNS in
ADD:/run/netns/* | ADD:/var/run/netns/* | DEL:/run/netns/* | DEL:/var/run/netns/*)
    if [ -d $ahead ] && read -r now idle </proc/uptime; then
        set -C
        {{
            config=
            while IFS= read -r line || [ "$line" ]; do
                config=$config$line'
'
            done
            if [ "$config" ]; then
                printf '%s\\0' "$CNI_COMMAND" "$CNI_CONTAINERID" "$CNI_NETNS" "$CNI_IFNAME" "$CNI_ARGS" "$CNI_PATH" \\
                    "$config" >&9 2>/dev/null || {{ printf %s "$config" | qingcni; exit; }}
                qingcni "$$-$now"
            fi
        }} 9>"$ahead/$$-$now"
    fi
    ;;
esac
qingcni
"""

# Built-in modules only, the body comes compiled, and what is compiled at each start is as short as can be. Sixteen
# bytes of header precede the code of a .pyc file (PEP 552); where another interpreter wrote it, or nobody did, the
# source is compiled instead.
_CNI_START = """\
# Written by qingcloud.cni.hostnic_install.
import marshal, posix, _frozen_importlib_external as boot
try:
    read = posix.read(posix.open("{version}/qingcni.pyc", posix.O_CLOEXEC), 1048576)
    code = marshal.loads(read[16:]) if read[:4] == boot.MAGIC_NUMBER else None
except (OSError, EOFError, ValueError, TypeError):
    code = None
exec(code or compile(open("{version}/qingcni.py", "rb").read(), "{version}/qingcni.py", "exec"))
"""

TEMPLATES = (_AGENT, _CNI, _CNI_START)


def agent(python: str, version: str) -> str:
    """Text of `qingagent` for the version that lies in the directory `version`."""
    return _text(_AGENT, python, version)


def cni(python: str, version: str) -> str:
    """Text of `qingcni`."""
    return _text(_CNI, python, version)


def cni_start(version: str) -> str:
    """Text of `qingcni-start.py`, with which its interpreter starts."""
    return _text(_CNI_START, "", version)


def _text(template: str, python: str, version: str) -> str:
    if any(character.isspace() or character in "\"'\\" for character in python + version):
        raise InvalidConfig(f"a first line cannot name this interpreter or directory: {python}, {version}")
    if len(python) > _LONGEST_SHEBANG:
        raise InvalidConfig(f"the interpreter's path is too long for a first line: {python}")
    quoted = {"shell_python": shlex.quote(python), "shell_version": shlex.quote(version)}
    return template.format(python=python, version=version, **quoted)
