# SPDX-License-Identifier: GPL-3.0-or-later
"""Answers that are none, and how far a call came before it failed."""

from __future__ import annotations

import contextlib
import datetime
import gc
import ipaddress
import socket
import ssl
import threading
import time
import typing as t
import weakref
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hostnic import errors
from hostnic.cloud.connection import tls_context
from hostnic.cloud.credentials import Access
from hostnic.cloud.sdk import BadAnswer, Exchange, Route
from tests.support.scripted_api import KEY, OK, ScriptedApi, connection, failing


@pytest.fixture
def api() -> t.Iterator[ScriptedApi]:
    server = ScriptedApi()
    yield server
    server.close()


# -- answers that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>502 from a proxy</html>", b"[1]", b"null", b'"text"', b"\xff\xfe", b'{"ret_code":null}', b"{}"],
)
def test_something_that_is_not_the_api(api: ScriptedApi, body: bytes) -> None:
    api.script = [body]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous


@pytest.mark.parametrize("status", [302, 404, 413, 500, 502, 503])
def test_any_other_status(api: ScriptedApi, status: int) -> None:
    api.script = [lambda handler: api.reply(handler, b"<html>\x1b[31mno</html>", status)]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert (error.ambiguous, error.details["status"]) == (True, status)
    assert "\x1b" not in error.details["message"]


def test_body_cut_short(api: ScriptedApi) -> None:
    api.script = [lambda handler: api.reply(handler, OK, length=500)]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous


def test_chunked_body(api: ScriptedApi) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (OK[:7], OK[7:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    api.script = [chunked]
    assert connection(api.port).call("DescribeZones", {})["answer"] == 42


def test_body_until_the_end_of_the_connection(api: ScriptedApi) -> None:
    def until_close(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(OK)
        handler.close_connection = True

    api.script = [until_close]
    assert connection(api.port).call("DescribeZones", {})["answer"] == 42


# -- how far it came ---------------------------------------------------------------------------------------------------


def test_no_answer_in_time_may_have_been_carried_out(api: ScriptedApi) -> None:
    api.script = [api.stall]
    error = failing(connection(api.port, timeout=0.2))
    assert isinstance(error, errors.Timeout)
    assert error.ambiguous
    assert "whether it was carried out is not known" in error.message


def test_dripping_answer_has_a_deadline(api: ScriptedApi) -> None:
    def drip(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        with contextlib.suppress(OSError):
            while not api.over.wait(0.02):
                handler.wfile.write(b" ")
                handler.wfile.flush()

    api.script = [drip]
    started = time.monotonic()
    error = failing(connection(api.port, timeout=0.3))
    assert isinstance(error, errors.Timeout)
    assert time.monotonic() - started < 3


def test_all_steps_take_from_one_timeout(api: ScriptedApi) -> None:
    """Neither the answer's beginning nor its rest comes as late as that by itself."""

    def slow(handler: BaseHTTPRequestHandler) -> None:
        api.over.wait(0.8)
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        api.stall(handler)

    api.script = [slow]
    started = time.monotonic()
    error = failing(connection(api.port, timeout=1.0))
    assert isinstance(error, errors.Timeout)
    assert error.ambiguous
    assert 0.9 < time.monotonic() - started < 1.5


def test_hang_up_may_have_been_carried_out(api: ScriptedApi) -> None:
    api.script = [api.hang_up]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous


def test_refused_connection_was_certainly_not() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        error = failing(connection(port))
    assert isinstance(error, errors.Unreachable)
    assert not error.ambiguous
    assert "Connection refused" in error.message


def test_unknown_name_was_certainly_not() -> None:
    error = failing(connection(1, host="no-such-host.invalid"))
    assert isinstance(error, errors.Unreachable)
    assert not error.ambiguous
    assert "no-such-host.invalid cannot be resolved" in error.message


def test_connecting_has_a_deadline() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        crowd = []
        for __ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            crowd.append(one)
        error = failing(connection(port, timeout=0.2))
        for one in crowd:
            one.close()
    assert isinstance(error, errors.Timeout)
    assert not error.ambiguous


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for 127.0.0.1 in one file."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.oid.NameOID.COMMON_NAME, "private cloud")])
    now = datetime.datetime.now(datetime.timezone.utc)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    path.write_bytes(pem + made.public_bytes(serialization.Encoding.PEM))
    return path


def test_private_cloud_with_its_own_ca(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = ScriptedApi(context)
    try:
        trusting = connection(server.port, protocol="https", ca_file=str(certificate))
        assert trusting.call("DescribeZones", {})["answer"] == 42
        error = failing(connection(server.port, protocol="https"))
        assert isinstance(error, errors.Unreachable)
        assert not error.ambiguous
        assert "ca_file" in error.message
        assert len(server.asked) == 1
    finally:
        server.close()


def test_a_slow_handshake_leaves_less_time_for_the_answer(certificate: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    over = threading.Event()

    def serve() -> None:
        plain, __ = listener.accept()
        over.wait(0.8)
        with context.wrap_socket(plain, server_side=True):
            over.wait(20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        port = listener.getsockname()[1]
        started = time.monotonic()
        error = failing(connection(port, protocol="https", ca_file=str(certificate), timeout=1.0))
        assert 0.9 < time.monotonic() - started < 1.5
        over.set()
        thread.join(5)
    assert isinstance(error, errors.Timeout)
    assert error.ambiguous  # it was sent


def test_file_that_holds_no_ca(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(errors.InvalidConfig, match="ca_file .*ca.pem cannot be used"):
        tls_context(Access(ca_file=str(path)))
    assert tls_context(Access(protocol="http")) is None


# -- what a call leaves ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [OK, b"none"])
def test_nothing_for_the_garbage_collector(api: ScriptedApi, answer: bytes) -> None:
    api.script = [answer]
    exchange = Exchange(Route("127.0.0.1", api.port, 5.0, None), KEY, "pek3a")
    ended = weakref.ref(exchange)
    gc.disable()
    try:
        with contextlib.suppress(BadAnswer):
            exchange.run("DescribeZones", {}, uri="/iaas/", post=False)
        del exchange
        assert ended() is None
    finally:
        gc.enable()
