# SPDX-License-Identifier: GPL-3.0-or-later
"""The access file and its mistakes, and what is laid over it."""

from __future__ import annotations

import typing as t
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud import credentials
from hostnic.cloud.build import zone_of
from hostnic.cloud.credentials import Access, Key, from_environ, read_access
from hostnic.cloud.keys import RoleKeys, keys_for
from hostnic.config import Settings

SECRET = "SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSS"
KEYS = f"qy_access_key_id: 'AAAAAAAAAAAAAAAAAAAA'\nqy_secret_access_key: '{SECRET}'\n"


@pytest.fixture
def write(tmp_path: Path) -> t.Callable[..., str]:
    def made(text: str, mode: int = 0o600) -> str:
        path = tmp_path / "client.yaml"
        path.write_text(text)
        path.chmod(mode)
        return str(path)

    return made


Write = t.Callable[..., str]


def test_private_cloud(write: Write) -> None:
    path = write(
        KEYS + "zone: 'lab1a'\nhost: 'api.cloud.example.net'\nport: 7777\nprotocol: 'http'\nuri: '/iaas'\n"
        "connection_retries: 5\nconnection_timeout: 30\nlog_level: 'warn'\n"
    )
    access = read_access(path)
    assert access.key == Key("AAAAAAAAAAAAAAAAAAAA", SECRET)
    assert (access.host, access.port, access.protocol, access.uri) == ("api.cloud.example.net", 7777, "http", "/iaas")
    assert (access.zone, access.retries, access.timeout, access.source) == ("lab1a", 5, 30.0, path)


def test_defaults(write: Write) -> None:
    access = read_access(write(KEYS))
    assert (access.host, access.port, access.protocol, access.uri) == ("api.qingcloud.com", 443, "https", "/iaas/")
    assert (access.zone, access.retries, access.timeout) == ("", 3, 10.0)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("qy_access_key_id: A\n", "qy_secret_access_key is missing"),
        ("qy_secret_access_key: S\n", "qy_access_key_id is missing"),
        (KEYS + "port: 70000", "port 70000 must be a whole number from 1 to 65535"),
        (KEYS + "port: true", "port True must be"),
        (KEYS + "protocol: ftp", "protocol 'ftp' does not look like http or https"),
        (KEYS + "host: https://api.qingcloud.com", "host 'https://api.qingcloud.com' does not look like"),
        (KEYS + "uri: iaas", "uri 'iaas' does not look like /iaas"),
        (KEYS + "uri: '/iaas?x=1'", "uri .* does not look like"),
        (KEYS + "zone: PEK3A", "zone 'PEK3A' does not look like pek3a"),
        (KEYS + "connection_timeout: soon", "connection_timeout 'soon' must be a number"),
        (KEYS + "connection_retries: 1.5", "connection_retries 1.5 must be a whole number"),
        (KEYS + "ca_file: /nonexistent/ca.pem", "ca_file '/nonexistent/ca.pem' is not a file"),
        (KEYS + "credential_proxy_port: none", "credential_proxy_port 'none' must be"),
        ("qy_acces_key_id: A\n", "unknown key 'qy_acces_key_id', did you mean 'qy_access_key_id'"),
        ("qy_access_key_id: 123\nqy_secret_access_key: S", "qy_access_key_id must be text without blanks"),
        ("qy_access_key_id: 'A B'\nqy_secret_access_key: S", "qy_access_key_id must be text without blanks"),
        ("- a\n- b\n", "must hold lines like"),
        (KEYS + "host: [", "client.yaml, line 3: not valid YAML"),
    ],
)
def test_mistakes_are_named(write: Write, text: str, said: str) -> None:
    with pytest.raises(errors.InvalidConfig, match=said) as caught:
        read_access(write(text))
    assert "client.yaml" in caught.value.message
    assert SECRET not in caught.value.message


def test_broken_line_with_the_secret_is_not_quoted(write: Write) -> None:
    with pytest.raises(errors.InvalidConfig) as caught:
        read_access(write(f"qy_secret_access_key: '{SECRET}\n"))
    assert SECRET not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o666])
def test_file_that_is_open_to_others(write: Write, mode: int) -> None:
    path = write(KEYS, mode)
    with pytest.raises(errors.InvalidConfig, match=f"run chmod 0600 {path}"):
        read_access(path)


def test_file_without_a_secret_may_be_open(write: Write) -> None:
    access = read_access(write("host: 'api.cloud.example.net'\n", 0o644))
    assert access.key is None
    assert access.source == "the IAM role of this instance"


@pytest.mark.parametrize("text", ["", "qy_access_key_id: ''\nqy_secret_access_key: ''\n", "zone:\n"])
def test_no_keys_means_the_role(write: Write, text: str) -> None:
    assert isinstance(keys_for(read_access(write(text))), RoleKeys)


def test_missing_file_means_the_role(tmp_path: Path) -> None:
    access = read_access(str(tmp_path / "none.yaml"))
    assert access.key is None


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(errors.InvalidConfig, match="cannot read"):
        read_access(str(tmp_path))


def test_other_programs_keys_are_tolerated(write: Write, caplog: pytest.LogCaptureFixture) -> None:
    assert read_access(write(KEYS + "additional_user_agent: x\n")).key is not None
    assert "additional_user_agent" in caplog.text


def test_overrides_win(write: Write) -> None:
    overrides = {"qy_access_key_id": "B", "qy_secret_access_key": "T", "zone": "ap2a", "host": None}
    access = read_access(write(KEYS + "zone: pek3a\nhost: 'h.example.net'\n"), overrides)
    assert access.key == Key("B", "T")
    assert (access.zone, access.host, access.source) == ("ap2a", "h.example.net", "the access key that was given")


def test_overrides_do_without_a_file(tmp_path: Path) -> None:
    environ = {
        "QINGCLOUD_ACCESS_KEY": "B",
        "QINGCLOUD_SECRET_KEY": "T",
        "QINGCLOUD_ZONE": "ap2a",
        "QINGCLOUD_ENDPOINT": "http://127.0.0.1:8080/iaas",
        "OTHER": "x",
    }
    access = read_access(str(tmp_path / "none.yaml"), from_environ(environ))
    assert access.key == Key("B", "T")
    assert (access.host, access.port, access.protocol, access.uri) == ("127.0.0.1", 8080, "http", "/iaas")


@pytest.mark.parametrize("url", ["api.qingcloud.com", "ftp://x", "https://", "http://a:b@host/", "http://h:99999"])
def test_endpoint_that_is_none(url: str) -> None:
    with pytest.raises(errors.InvalidConfig, match="QINGCLOUD_ENDPOINT"):
        from_environ({"QINGCLOUD_ENDPOINT": url})


def test_endpoint_defaults() -> None:
    assert credentials.endpoint("https://api.example.net") == {
        "protocol": "https", "host": "api.example.net", "port": 443, "uri": "/iaas/",
    }  # fmt: skip


def test_which_zone() -> None:
    settings = Settings(zone="pek3a")
    assert zone_of(settings, Access(zone="lab1a"), {}) == "lab1a"
    assert zone_of(settings, Access(zone="lab1a"), {"zone": "default"}) == "lab1a"
    assert zone_of(settings, Access(zone="lab1a"), {"zone": "--zone"}) == "pek3a"
    assert zone_of(settings, Access(), {}) == "pek3a"


def test_metadata_address_of_the_file(write: Write) -> None:
    text = "credential_proxy_host: '10.0.0.9'\ncredential_proxy_port: 8080\ncredential_proxy_uri: '/creds'\n"
    assert read_access(write(text)).metadata_url == "http://10.0.0.9:8080/creds"
    assert read_access(write("")).metadata_url == credentials.METADATA_URL
