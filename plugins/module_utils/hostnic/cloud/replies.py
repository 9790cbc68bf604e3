# SPDX-License-Identifier: GPL-3.0-or-later
"""What a ret_code and its message mean, as an error with a sentence. Codes: the API's error-code page."""

from __future__ import annotations

import re
import typing as t

from .. import errors, redact

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

ACCESS_DENIED, NOT_FOUND, OVER_QUOTA, AUTH_FAILED, EXPIRED = 1400, 2100, 2500, 1200, 1300
INTERNAL, SERVER_BUSY, NO_RESOURCES, UPDATING = 5000, 5100, 5200, 5300

_REMEDIES: t.Final[t.Mapping[int, str]] = {
    1100: "the request was badly formed, which is a defect of ours or a wrong zone",
    1101: "the request named an unknown action or value, which is a defect of ours or a wrong zone",
    2000: "renew the login session or the access key",
    2400: "the account's balance is too low: top it up",
    5400: "something else depends on the resource: remove that first",
}
# Badly formed, wrong, not allowed or there already.
_ABOUT_A_VALUE: t.Final = (1100, 1101, ACCESS_DENIED, 2110)
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
    facts: dict[str, t.Any] = {"action": action, "ret_code": ret_code}

    def said(remedy: str = "") -> str:
        return f"QingCloud refused {action}: {message or 'no reason given'} (ret_code {ret_code})" + (
            f": {remedy}" if remedy else ""
        )

    if ret_code == NOT_FOUND or _MISSING.search(message):
        error: errors.HostnicError = errors.NotFound(said(), **facts)
    elif ret_code == AUTH_FAILED:
        error = errors.AuthFailed(said(f"check {access}"), **facts)
    elif ret_code == EXPIRED:
        off = clock_off or "this machine's clock is off by a minute or more"
        error = errors.AuthFailed(said(f"{off}: set it, for example with chrony or systemd-timesyncd"), **facts)
    elif ret_code == OVER_QUOTA and TOO_OFTEN.search(message):
        error = errors.RateLimited(said("lower api-rate, or raise the account's limit"), **facts)
    elif ret_code in (ACCESS_DENIED, OVER_QUOTA, NO_RESOURCES) and _FULL.search(message):
        error = errors.VxnetFull(said("add another vxnet or delete unused NICs"), **facts)
    elif ret_code in (ACCESS_DENIED, OVER_QUOTA) and _NIC_LIMIT.search(message):
        error = errors.QuotaExceeded(said("lower max-nics"), scope="instance", **facts)
    elif ret_code == OVER_QUOTA and _DAILY.search(message):
        error = errors.QuotaExceeded(said("it is free again after midnight"), scope="day", **facts)
    elif ret_code == OVER_QUOTA:
        error = errors.QuotaExceeded(said("ask QingCloud for a higher quota"), scope="account", **facts)
    elif ret_code == NO_RESOURCES and action == "CreateNics":
        error = errors.VxnetFull(said("another vxnet may have room"), **facts)
    elif 5000 <= ret_code < 5400:
        # 5000 is anything, 5100 is documented as "timeout or overload": the work may have been done.
        error = errors.Busy(said(), ambiguous=ret_code not in (NO_RESOURCES, UPDATING), **facts)
    elif action == "CreateNics" and ret_code in _ABOUT_A_VALUE and _ADDRESS.search(message):
        error = errors.Denied(said(), subject="address", **facts)
    else:
        error = errors.Denied(said(_REMEDIES.get(ret_code, "")), **facts)
    return with_message(error, message)


def with_message(error: errors.HostnicError, message: str) -> errors.HostnicError:
    """What the API itself said, among the details; the constructor has a parameter of that name already."""
    error.details["message"] = message
    return error


def printable(text: str) -> str:
    """One line of readable text, not too long: answers come from outside, may echo what was sent, and go to logs."""
    line = " ".join("".join(char if char.isprintable() else " " for char in redact.text(text)).split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"
