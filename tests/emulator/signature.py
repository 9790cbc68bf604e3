# SPDX-License-Identifier: GPL-3.0-or-later
"""Version 1 signatures: base64(HMAC(secret, METHOD + LF + PATH + LF + sorted percent-encoded parameters))."""

from __future__ import annotations

import base64
import hashlib
import hmac
import typing as t
from urllib.parse import quote

DIGESTS: t.Final[t.Mapping[str, str]] = {"HmacSHA256": "sha256", "HmacSHA1": "sha1"}


def string_to_sign(method: str, path: str, parameters: t.Mapping[str, str]) -> str:
    """``signature`` itself is left out; names sort by bytes, so ``nics.10`` comes before ``nics.2``."""
    pairs = sorted((name, value) for name, value in parameters.items() if name != "signature")
    joined = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    return f"{method}\n{path}\n{joined}"


def sign(method: str, path: str, parameters: t.Mapping[str, str], secret: str) -> str:
    """The signature by ``signature_method``, in base64 with padding. Raises KeyError for another method."""
    digest = getattr(hashlib, DIGESTS[parameters["signature_method"]])
    text = string_to_sign(method, path, parameters)
    return base64.b64encode(hmac.new(secret.encode(), text.encode(), digest).digest()).decode("ascii")


def matches(method: str, path: str, parameters: t.Mapping[str, str], secret: str) -> bool:
    wanted = sign(method, path, parameters, secret)
    return hmac.compare_digest(wanted.encode(), parameters["signature"].encode())
