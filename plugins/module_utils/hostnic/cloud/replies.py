# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ret_code and its message mean, as an error with a sentence. Codes: the API's error-code page."""

from __future__ import annotations

import re
import typing as t

from .. import errors, redact
from . import codes
from .codes import ACCESS_DENIED, AUTH_FAILED, EXPIRED, NO_RESOURCES, NOT_FOUND, OVER_QUOTA, UPDATING

TOO_OFTEN: t.Final = re.compile(r"access too frequently", re.I)
_MISSING = re.compile(r"\bResourceNotFound\b")
_DAILY = re.compile(r"\b(?:a|per|each) day\b|\bdaily\b|\btomorrow\b", re.I)
# The API names no code or text for a full vxnet; these say so in as many words, and nothing else does.
_FULL = re.compile(
    r"(?:\bno (?:free|more|enough|available|idle|unused)|\bnot enough|\binsufficient|\black of|\brun out of)"
    r"\s+(?:\w+\s+){0,2}?(?:ips?|addresses|address)\b"
    r"|\b(?:ips?|addresses) (?:\S+ ){0,4}?(?:exhausted|used up)\b"
    r"|\btoo many nics in (?:\w+ )?vxnet"
    r"|\bvxnet \S+ is full\b",
    re.I,
)
# CreateNics with addresses: one that is taken, or none of the vxnet's. The API names no text for this either.
_ADDRESS = re.compile(r"\bprivate[ _]?ips?\b|\bip address(?:es)?\b|\b\d+\.\d+\.\d+\.\d+\b", re.I)
# Shaped like "you can only attach [10] volumes to one instance at most", which is known.
_NIC_LIMIT = re.compile(r"\bonly attach \S+ nics?\b|\bnics?\b.*\bone instance at most\b", re.I)

# Badly formed, wrong, not allowed or there already.
_ABOUT_A_VALUE: t.Final = (codes.BAD_FORMAT, codes.BAD_METHOD, ACCESS_DENIED, codes.EXISTS)
_LONGEST_MESSAGE = 400


def failure(
    action: str, ret_code: int, message: str, *, access: str = "the access file", clock_off: str = ""
) -> errors.HostnicError:
    """The error that an answer with `ret_code` other than 0 stands for.

    `access` says where the key came from, `clock_off` how far this machine's clock is off, if known. Details:
    action, ret_code, message; for `QuotaExceeded` also scope: "day", "instance" or "account"; for a CreateNics that
    is `Denied` with a word about an address also subject: "address".
    """
    message = printable(message)
    what = f"QingCloud refused {action}: {message or 'no reason given'} (ret_code {ret_code})"
    facts: dict[str, t.Any] = {"action": action, "ret_code": ret_code, "remedy": codes.remedy(action, ret_code)}
    off = clock_off or "this machine's clock is off by a minute or more"

    def error(kind: type[errors.HostnicError], remedy: str = "", **more: t.Any) -> errors.HostnicError:
        return kind(what, **{**facts, **({"remedy": remedy} if remedy else {}), **more})

    if ret_code == NOT_FOUND or _MISSING.search(message):
        found = error(errors.NotFound, codes.remedy(action, NOT_FOUND))
    elif ret_code == AUTH_FAILED:
        found = error(errors.AuthFailed, f"check {access}")
    elif ret_code == EXPIRED:
        found = error(errors.AuthFailed, f"{off}: set it, for example with chrony or systemd-timesyncd")
    elif ret_code == OVER_QUOTA and TOO_OFTEN.search(message):
        found = error(errors.RateLimited, "lower api-rate, or raise the account's limit")
    elif ret_code in (ACCESS_DENIED, OVER_QUOTA, NO_RESOURCES) and _FULL.search(message):
        found = error(errors.VxnetFull, "add another vxnet or delete unused NICs")
    elif ret_code in (ACCESS_DENIED, OVER_QUOTA) and _NIC_LIMIT.search(message):
        found = error(errors.QuotaExceeded, "lower max-nics", scope="instance")
    elif ret_code == OVER_QUOTA and _DAILY.search(message):
        found = error(errors.QuotaExceeded, "wait until midnight, when it is free again", scope="day")
    elif ret_code == OVER_QUOTA:
        found = error(errors.QuotaExceeded, scope="account")
    elif ret_code == NO_RESOURCES and action == "CreateNics":
        found = error(errors.VxnetFull)
    elif 5000 <= ret_code < 5400:
        # 5000 is anything, 5100 is documented as "timeout or overload": the work may have been done.
        found = error(errors.Busy, ambiguous=ret_code not in (NO_RESOURCES, UPDATING))
    elif action == "CreateNics" and ret_code in _ABOUT_A_VALUE and _ADDRESS.search(message):
        found = error(errors.Denied, "ask for another address", subject="address")
    else:
        found = error(errors.Denied)
    return with_message(found, message)


def with_message(error: errors.HostnicError, message: str) -> errors.HostnicError:
    """What the API itself said, among the details; the constructor has a parameter of that name already."""
    error.details["message"] = message
    return error


def printable(text: str) -> str:
    """One line of readable text, not too long: answers come from outside, may echo what was sent, and go to logs."""
    line = " ".join("".join(char if char.isprintable() else " " for char in redact.text(text)).split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
