# SPDX-License-Identifier: GPL-3.0-or-later
"""Environments: every CNI_* variable absent, empty, too long, in other bytes; and what the specification says of them.

The oracle is written from the specification and the upstream skeleton alone.
"""

from __future__ import annotations

import json
import random
import string
import typing as t
import unicodedata

from tests.support.fuzz.case import CONFIG, ENV, SUCCESS, Case, one_of
from tests.support.fuzz.text import spoilt, strange

NAMES: t.Final = ("CNI_COMMAND", "CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
VERBS: t.Final = ("ADD", "ADD", "ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION")
ATTACHMENT: t.Final = ("ADD", "DEL", "CHECK")
REQUIRED: t.Final = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
}
ARGS: t.Final = (
    "IgnoreUnknown=1",
    "K8S_POD_NAME=p",
    "IP=10.0.0.1",
    "IP=x",
    "MAC=02:00:00:00:00:01",
    "A=b",
    "=",
    "A",
    "",
)
LETTERS: t.Final = string.ascii_letters + string.digits


def environment(dice: random.Random) -> Case:
    """One to three variables are not as they should be, now and then none."""
    env = {**ENV, "CNI_COMMAND": dice.choice(VERBS)}
    for name in dice.sample(NAMES, dice.choice((0, 1, 1, 1, 2, 3))):
        _spoil(dice, env, name)
    expected = ends(env)
    # an ADD that waits in vain for what it wishes; any other must not fail because this machine is slow
    in_vain = expected is None and ("IP" in env.get("CNI_ARGS", "") or "MAC" in env.get("CNI_ARGS", ""))
    return Case(expected, env, json.dumps(_config(env)), patience=0.1 if in_vain else 20.0)


def _spoil(dice: random.Random, env: dict[str, str], name: str) -> None:
    kind = dice.randrange(5)
    if name == "CNI_ARGS" and kind > 1:
        env[name] = ";".join(dice.choice(ARGS) for __ in range(dice.randrange(5)))
    elif kind == 0:
        env.pop(name, None)
    elif kind == 1:
        env[name] = ""
    else:
        env[name] = spoilt(dice, env.get(name, "")) if kind == 2 else strange(dice)


def _config(env: t.Mapping[str, str]) -> dict[str, t.Any]:
    config = dict(CONFIG)
    if env.get("CNI_COMMAND") == "GC":
        config |= {"name": "nothing-here", "cni.dev/valid-attachments": []}
    return config


def ends(env: t.Mapping[str, str]) -> t.Optional[frozenset[int]]:
    """What the call must end with, its configuration being good; None where that depends."""
    verb = env.get("CNI_COMMAND", "")
    if verb == "VERSION":
        return one_of(SUCCESS)
    if verb not in REQUIRED:
        return one_of(4)
    if not all(env.get(name) for name in REQUIRED[verb]):
        return one_of(4)
    if verb in ATTACHMENT:
        name = _names_an_interface(env["CNI_IFNAME"])
        if not _names_a_container(env["CNI_CONTAINERID"]) or name is False:
            return one_of(4)
        if name is None:
            return None
    if verb == "CHECK":
        return one_of(7)  # no prevResult
    if verb == "ADD" and env.get("CNI_ARGS"):
        return None
    return one_of(SUCCESS)


def _names_a_container(text: str) -> bool:
    return text[0] in LETTERS and all(sign in LETTERS + "_.-" for sign in text)


def _names_an_interface(text: str) -> t.Optional[bool]:
    """None for separators that only some call white space."""
    if any(sign in "\x1c\x1d\x1e\x1f" for sign in text):
        return None
    if any("\ud800" <= sign <= "\udfff" for sign in text) or len(text.encode()) > 15 or text in (".", ".."):
        return False
    return not any(sign in "/:%\0\t\n\v\f\r\x85" or unicodedata.category(sign)[0] == "Z" for sign in text)
