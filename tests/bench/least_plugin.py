# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs on a node, with a first line that names the interpreter: the least that is a CNI plugin in Python with an agent.

Nothing is checked, no error is told, no agent that is away is borne with. See least_agent.py.
"""

import _socket
import posix

connection = _socket.socket(_socket.AF_UNIX)
connection.connect(b"/run/bench-least.sock")
environ = posix.environ
netns = posix.open(environ[b"CNI_NETNS"], posix.O_RDONLY)
request = environ[b"CNI_COMMAND"] + b" " + posix.read(0, 65536)
connection.sendmsg([request], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, "little"))])
posix.write(1, connection.recv(65536))
posix._exit(0)
