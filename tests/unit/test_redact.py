# SPDX-License-Identifier: GPL-3.0-or-later
"""Secrets are masked: known values in every spelling, whole or cut off, and what tells itself by its shape."""

from __future__ import annotations

import json
import typing as t
from urllib.parse import quote, quote_plus, urlencode

import pytest

from hostnic.redact import MOST, SHORTEST, Redactor, key_id

SECRET = 'pLanted/sEcret+0123 "quoted"\\end=='
KEY_ID = "QYPLANTEDKEYID00001"


@pytest.fixture
def redactor() -> Redactor:
    redactor = Redactor()
    redactor.learn(SECRET)
    redactor.learn(KEY_ID, key_id(KEY_ID))
    return redactor


@pytest.mark.parametrize(
    "said",
    [
        SECRET,
        f"before {SECRET} after",
        f"before{SECRET}after",
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        json.dumps({"message": f"x {SECRET} y"}),
        json.dumps({"stdout": json.dumps({"message": SECRET})}),
        repr({"message": SECRET}),
        "https://api/iaas/?" + urlencode({"a": 1, "x": SECRET, "b": 2}),
    ],
    ids=["bare", "in-words", "glued", "quoted", "quoted-plus", "json", "json-in-json", "repr", "url"],
)
def test_a_known_value_is_not_shown_however_it_is_written(redactor: Redactor, said: str) -> None:
    told = redactor.text(said)
    assert "***" in told
    assert not any(part in told for part in ("pLanted", "sEcret", "0123", "quoted"))


@pytest.mark.parametrize("kept", range(12, len(KEY_ID)))
@pytest.mark.parametrize("cut", ["end", "beginning"])
def test_what_is_left_of_a_value_that_was_cut_off_is_not_shown(redactor: Redactor, kept: int, cut: str) -> None:
    part = KEY_ID[:kept] if cut == "end" else KEY_ID[-kept:]
    assert redactor.text(f"the answer was {part}… and so on") == "the answer was QYPL…… and so on"


def test_an_access_key_id_stays_distinguishable(redactor: Redactor) -> None:
    assert redactor.text(f"access_key_id [{KEY_ID}] is not known") == "access_key_id [QYPL…] is not known"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("GET /iaas/?a=1&signature=aB%2Fc%3D&zone=pek3a", "GET /iaas/?a=1&signature=***&zone=pek3a"),
        ("access_key_id=QYABC&version=1", "access_key_id=***&version=1"),
        ("qy_secret_access_key: abc # mine", "qy_secret_access_key: *** # mine"),
        ("qy_secret_access_key: 'ab c'", "qy_secret_access_key: '***'"),
        ('{"id_token": "e.y.J", "n": 1}', '{"id_token": "***", "n": 1}'),
        (r'{"stdout": "{\"secret_key\": \"abc\", \"n\": 1}"}', r'{"stdout": "{\"secret_key\": \"***\", \"n\": 1}"}'),
        ("QINGCLOUD_SECRET_KEY=abc QINGCLOUD_ZONE=pek3a", "QINGCLOUD_SECRET_KEY=*** QINGCLOUD_ZONE=pek3a"),
        ("Authorization: Bearer abc.def", "Authorization: ***"),
        ("sent Bearer abcdefgh.ijk to it", "sent Bearer *** to it"),
        ("proxy http://user:pass@10.0.0.1:3128/ is away", "proxy http://***@10.0.0.1:3128/ is away"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE\nabc\n-----END PRIVATE KEY-----", None),
        ("password = hunter2, please", "password = ***, please"),
    ],
)
def test_a_shape_is_known_without_the_value(said: str, told: t.Optional[str]) -> None:
    assert Redactor().text(said) == (told or "-----BEGIN PRIVATE KEY-----***-----END PRIVATE KEY-----")


@pytest.mark.parametrize(
    "said",
    [
        '{"limiter": {"rate": 5.0, "tokens": 4.2, "token": 3, "signature": null}}',
        "check qy_access_key_id in /etc/qingcloud/client.yaml",
        "there is no access key, and this instance has no IAM role",
        "QingCloud was called action=DescribeNics outcome=ok ms=12 request=0123456789abcdef",
        "52:54:00:00:00:01 READY > RESERVED",
        "credential_proxy_host: 127.0.0.1",
        "https://api.qingcloud.com:443/iaas",
    ],
)
def test_what_is_not_secret_is_left_as_it_is(redactor: Redactor, said: str) -> None:
    assert redactor.text(said) == said


def test_json_stays_json_and_keeps_what_is_not_secret(redactor: Redactor) -> None:
    document = {"secret": SECRET, "token": {"at": 1}, "list": [SECRET, 2, None, True], "signature": "short", "n": 0.5}
    expected = {"secret": "***", "token": {"at": 1}, "list": ["***", 2, None, True], "signature": "***", "n": 0.5}
    assert redactor.value(document) == expected
    assert json.loads(redactor.text(json.dumps(document))) == expected
    assert redactor.value({"access_key_id": KEY_ID}) == {"access_key_id": "QYPL…"}


def test_a_damaged_file_teaches_its_secrets() -> None:
    redactor = Redactor()
    redactor.learn_from("qy_secret_access_key: 'not:closed-secret\nzone: [broken\nqy_access_key_id: QYNOTYAML1\n")
    assert redactor.text("a not:closed-secret b QYNOTYAML1 c [broken") == "a *** b QYNO… c [broken"


def test_what_is_too_short_to_be_told_from_words_is_not_learned() -> None:
    redactor = Redactor()
    redactor.learn("a" * (SHORTEST - 1))
    redactor.learn("")
    assert redactor.text("aaaaaaaa") == "aaaaaaaa"


def test_old_values_give_way_so_that_an_agent_does_not_grow() -> None:
    redactor = Redactor()
    for number in range(MOST + 1):
        redactor.learn(f"{number:03d}" * 5)
    assert redactor.text(f"{'000' * 5} {'001' * 5}") == f"{'000' * 5} ***"
