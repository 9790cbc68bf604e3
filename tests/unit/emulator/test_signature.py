# SPDX-License-Identifier: GPL-3.0-or-later
"""Known answers: two published vectors and four computed by hand from the documentation."""

from __future__ import annotations

import typing as t

import pytest

from tests.emulator import signature

SECRET = "SECRETACCESSKEY"
DOCS: t.Final[t.Mapping[str, str]] = {
    "access_key_id": "QYACCESSKEYIDEXAMPLE",
    "action": "RunInstances",
    "count": "1",
    "image_id": "centos64x86a",
    "instance_name": "demo",
    "instance_type": "small_b",
    "login_mode": "passwd",
    "login_passwd": "QingCloud20130712",
    "signature_method": "HmacSHA256",
    "signature_version": "1",
    "time_stamp": "2013-08-27T14:30:10Z",
    "version": "1",
    "vxnets.1": "vxnet-0",
    "zone": "pek3a",
}


@pytest.mark.parametrize(
    ("method", "path", "changed", "wanted"),
    [
        pytest.param("GET", "/iaas/", {}, "byjccvWIvAftaq+oublemagH3bYAlDWxxLFAzAsyslw=", id="published-docs"),
        pytest.param(
            "GET", "/iaas/", {"zone": "pek1"}, "32bseYy39DOlatuewpeuW5vpmW51sD1A/JdGynqSpP8=", id="published-go"
        ),
        pytest.param("GET", "/iaas/", {"signature_method": "HmacSHA1"}, "J6HXH2ms54sgN+hVb2Hli8M9IQM=", id="sha1"),
        pytest.param("POST", "/iaas/", {}, "VOy3hWMVHrA65zM7bSWnZ3RQHkApWoyadnzuDrtKq9c=", id="post"),
        pytest.param("GET", "/iaas", {}, "Ha/baisbNQQd3VXMJCcTtywBBnGfizvgNa/T7k/x4Ag=", id="no-slash"),
        pytest.param(
            "GET",
            "/iaas/",
            {"instance_name": "a b/~*\u4e2d:|"},
            "ImxYGvCGKUkeVTAQTbGFYOYfD+Le/c3QelV0yyJgjV4=",
            id="encoding",
        ),
    ],
)
def test_known_answers(method: str, path: str, changed: dict[str, str], wanted: str) -> None:
    parameters = {**DOCS, **changed}
    assert signature.sign(method, path, parameters, SECRET) == wanted
    assert signature.matches(method, path, {**parameters, "signature": wanted}, SECRET)
    assert not signature.matches(method, path, {**parameters, "signature": wanted, "count": "2"}, SECRET)


def test_names_sort_by_bytes_and_blanks_are_not_plus() -> None:
    text = signature.string_to_sign("GET", "/iaas/", {"nics.2": "b c", "nics.10": "a", "signature": "x"})
    assert text == "GET\n/iaas/\nnics.10=a&nics.2=b%20c"
