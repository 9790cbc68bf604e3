# SPDX-License-Identifier: GPL-3.0-or-later
"""Planted keys, secrets and tokens: an agent at debug level, whatever fails, says none of them anywhere."""

from __future__ import annotations

from urllib.parse import quote, quote_plus

import pytest

from tests.support.planted import CHANNELS, SECRETS, Planted


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    planted = Planted(tmp_path_factory.mktemp("planted"))
    planted.run()
    return planted


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("secret", SECRETS)
def test_a_planted_secret_is_not_said(planted: Planted, secret: str, channel: str) -> None:
    value = SECRETS[secret]
    forms = {value, quote(value, safe=""), quote_plus(value), value[:14], value[-14:]}
    leaks = [(form, _around(said, form)) for said in planted.said[channel] for form in forms if form in said]
    assert leaks == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_no_signature_is_said(planted: Planted, channel: str) -> None:
    sent = {query["signature"] for __, __, query in planted.api.asked if "signature" in query}
    assert len(sent) > 30
    forms = {form for one in sent for form in (one, quote(one, safe=""), quote_plus(one))} | {
        "FormerSignature",
        "FormerToken",
    }
    leaks = [_around(said, form) for said in planted.said[channel] for form in forms if form in said]
    assert leaks == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_the_channel_was_tried(planted: Planted, channel: str) -> None:
    """It has been asked to say secrets, which shows by their masks; a journal is not told any."""
    said = "\n".join(planted.said[channel])
    assert len(said) > 100
    assert "***" in said or channel == "journal"


def test_pods_are_told_what_the_api_refused(planted: Planted) -> None:
    """So that an answer of CNI is one that carries the API's words."""
    assert len([said for said in planted.said["cni-answers"] if "you sent" in said and "***" in said]) > 8


def _around(text: str, form: str) -> str:
    at = text.index(form)
    return text[max(0, at - 60) : at + 60]


@pytest.mark.parametrize("file", ["log/agent.txt", "spool.json", "configuration/files.txt"])
def test_a_bundle_masks_what_others_wrote(planted: Planted, file: str) -> None:
    (content,) = [said for said in planted.said["bundle"] if said.partition("\n")[0].endswith(f"/{file}")]
    assert "***" in content


def test_the_bundles_file_is_for_root_alone(planted: Planted) -> None:
    assert (planted.directory / "bundle.tar.gz").stat().st_mode & 0o777 == 0o600


def test_the_words_of_a_failure_stay_useful(planted: Planted) -> None:
    """A mask takes the place of a secret, not of the sentence."""
    said = "\n".join(planted.said["errors"])
    assert "QingCloud refused DescribeNics" in said and "you sent" in said and "QYPL…" in said
