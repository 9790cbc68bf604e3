# SPDX-License-Identifier: GPL-3.0-or-later
"""One call over a real socket: what the SDK would do wrong, and what each way of failing is called."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import socket
import ssl
import subprocess
import sys
import threading
import time
import typing as t
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, unquote

import pytest

from hostnic import errors
from hostnic.cloud import sdk
from hostnic.cloud.connection import Connection, tls_context
from hostnic.cloud.credentials import Access, Key
from hostnic.cloud.keys import FixedKeys
from hostnic.cloud.limiter import RateLimiter
from tests.emulator import signature

KEY = Key("QYACCESSKEYIDEXAMPLE", "SECRETACCESSKEY")
OK = b'{"action":"XResponse","ret_code":0,"answer":42}'


class Api:
    """Answers requests by the script, the last line of it again and again; keeps what was asked."""

    def __init__(self, context: t.Optional[ssl.SSLContext] = None) -> None:
        self.script: list[t.Any] = [OK]
        self.asked: list[tuple[str, str, dict[str, str]]] = []
        self.over = threading.Event()
        api = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:  # noqa: N802
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
                api.asked.append((self.command, unquote(path), dict(parse_qsl(query or body, keep_blank_values=True))))
                line = api.script.pop(0) if len(api.script) > 1 else api.script[0]
                line(self) if callable(line) else api.reply(self, line)

            do_POST = do_GET  # noqa: N815

            def log_message(self, format: str, *args: t.Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            block_on_close = False

            def handle_error(self, request: t.Any, client_address: t.Any) -> None:
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        if context is not None:
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def reply(self, handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, length: int = 0) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(length or len(body)))
        handler.end_headers()
        handler.wfile.write(body)
        if length:
            handler.close_connection = True

    def stall(self, handler: BaseHTTPRequestHandler) -> None:
        self.over.wait(20)
        handler.close_connection = True

    def hang_up(self, handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def api() -> t.Iterator[Api]:
    server = Api()
    yield server
    server.close()


def connection(
    api_port: int, *, key: Key = KEY, limiter: t.Optional[RateLimiter] = None, **changes: t.Any
) -> Connection:
    facts = {"host": "127.0.0.1", "protocol": "http", "timeout": 5.0, "key": key, "port": api_port, **changes}
    return Connection(Access(**facts), FixedKeys(key), limiter or RateLimiter(1e6, 1000), zone="pek3a")


def failing(link: Connection, action: str = "CreateNics") -> errors.HostnicError:
    with pytest.raises(errors.HostnicError) as caught:
        link.call(action, {"count": 1})
    error = caught.value
    assert error.details["action"] == action
    assert {"ret_code", "message"} <= set(error.details)
    assert KEY.secret not in repr(error.details) + error.message
    return error


# -- signing and encoding ---------------------------------------------------------------------------------------------


def test_signature_of_the_documentation(api: Api) -> None:
    params = {
        "count": 1, "image_id": "centos64x86a", "instance_name": "demo", "instance_type": "small_b",
        "login_mode": "passwd", "login_passwd": "QingCloud20130712", "vxnets": ["vxnet-0"],
    }  # fmt: skip
    connection(api.port).call("RunInstances", params)
    method, path, sent = api.asked[0]
    assert sent["signature"] == signature.sign(method, path, sent, KEY.secret)
    known = {**sent, "time_stamp": "2013-08-27T14:30:10Z"}
    known.pop("req_id")
    assert signature.sign(method, path, known, KEY.secret) == "byjccvWIvAftaq+oublemagH3bYAlDWxxLFAzAsyslw="


def test_path_of_the_file_is_requested_and_signed(api: Api) -> None:
    connection(api.port, uri="/cloud/iaas").call("DescribeZones", {})
    method, path, sent = api.asked[0]
    assert path == "/cloud/iaas"
    assert sent["signature"] == signature.sign("GET", "/cloud/iaas", sent, KEY.secret)


def test_odd_characters_and_lists(api: Api) -> None:
    params = {
        "nic_name": "a b/~*中:|+&=",
        "nics": ("52:54:00:00:00:01", "52:54:00:00:00:02"),
        "offset": 0,
        "owner": None,
    }
    connection(api.port).call("DescribeNics", params)
    method, path, sent = api.asked[0]
    assert sent["nic_name"] == params["nic_name"]
    assert (sent["nics.1"], sent["nics.2"], sent["offset"]) == ("52:54:00:00:00:01", "52:54:00:00:00:02", "0")
    assert "owner" not in sent
    assert sent["signature"] == signature.sign(method, path, sent, KEY.secret)
    assert sent["zone"] == "pek3a"


def test_long_requests_are_posted(api: Api) -> None:
    nics = [f"52:54:00:00:00:{number:02x}" for number in range(100)]
    connection(api.port).call("DescribeNics", {"nics": nics})
    method, path, sent = api.asked[0]
    assert method == "POST"
    assert sent["nics.100"] == nics[99]
    assert sent["signature"] == signature.sign("POST", path, sent, KEY.secret)
    connection(api.port).call("DescribeNics", {"nics": nics[:60]})
    assert api.asked[1][0] == "GET"


def test_caller_keeps_its_dict(api: Api) -> None:
    params: dict[str, t.Any] = {"nics": ["52:54:00:00:00:01"]}
    link = connection(api.port)
    link.call("DescribeNics", params)
    link.call("DescribeVxnets", params)
    assert params == {"nics": ["52:54:00:00:00:01"]}
    assert [sent["action"] for _, _, sent in api.asked] == ["DescribeNics", "DescribeVxnets"]


def test_empty_list_is_never_sent(api: Api) -> None:
    with pytest.raises(errors.HostnicError, match="empty list of nics"):
        connection(api.port).call("DeleteNics", {"nics": []})
    assert api.asked == []


def test_role_key_goes_to_its_own_path_with_its_token(api: Api) -> None:
    role = Key("J1", "S1", "h.p.s", time.time() + 1000)
    connection(api.port, key=role, uri="/iaas").call("DescribeZones", {})
    method, path, sent = api.asked[0]
    assert (path, sent["token"], sent["access_key_id"], sent["signature_version"]) == ("/iam/", "h.p.s", "J1", "2")
    assert sent["signature"] == signature.sign(method, path, sent, "S1")


# -- exactly once ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", ["hang_up", b'{"ret_code":5000,"message":"InternalError"}', b'{"ret_code":5100}', b""])
def test_a_call_is_never_repeated_by_itself(api: Api, line: t.Any) -> None:
    api.script = [getattr(api, line) if isinstance(line, str) else line]
    failing(connection(api.port))
    assert len(api.asked) == 1


def test_expired_stamp_is_stamped_again_once(api: Api) -> None:
    expired = b'{"ret_code":1300,"message":"RequestHasExpired, too old"}'
    api.script = [expired, OK]
    assert connection(api.port).call("CreateNics", {})["answer"] == 42
    assert api.asked[0][2]["req_id"] != api.asked[1][2]["req_id"]

    api.script = [expired]
    api.asked.clear()
    error = failing(connection(api.port))
    assert isinstance(error, errors.AuthFailed)
    assert len(api.asked) == 2
    assert "clock" in error.message
    assert "chrony" in error.message


@pytest.mark.parametrize(("behind", "said"), [(300, "ahead of"), (-300, "behind")])
def test_a_clock_that_is_off_is_measured(api: Api, behind: int, said: str) -> None:
    def reply(handler: BaseHTTPRequestHandler) -> None:
        body = b'{"ret_code":1300,"message":"RequestHasExpired"}'
        handler.send_response_only(200)
        handler.send_header("Date", email.utils.formatdate(time.time() - behind, usegmt=True))
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    api.script = [reply]
    assert re.search(f"this machine's clock is (299|300|301) s {said} the API's", failing(connection(api.port)).message)


def test_unknown_key_names_the_file(api: Api) -> None:
    api.script = [b'{"ret_code":1200,"message":"AuthFailure, access_key_id is not known"}']
    error = failing(connection(api.port, source="/etc/qingcloud/client.yaml"))
    assert isinstance(error, errors.AuthFailed)
    assert error.message == (
        "QingCloud refused CreateNics: AuthFailure, access_key_id is not known (ret_code 1200): "
        "check qy_access_key_id in /etc/qingcloud/client.yaml"
    )
    assert len(api.asked) == 1


# -- answers that are none ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>502 from a proxy</html>", b"[1]", b"null", b'"text"', b"\xff\xfe", b'{"ret_code":null}', b"{}"],
)
def test_something_that_is_not_the_api(api: Api, body: bytes) -> None:
    api.script = [body]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous


@pytest.mark.parametrize("status", [302, 404, 413, 500, 502, 503])
def test_any_other_status(api: Api, status: int) -> None:
    api.script = [lambda handler: api.reply(handler, b"<html>\x1b[31mno</html>", status)]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert (error.ambiguous, error.details["status"]) == (True, status)
    assert "\x1b" not in error.details["message"]


def test_body_cut_short(api: Api) -> None:
    api.script = [lambda handler: api.reply(handler, OK, length=500)]
    error = failing(connection(api.port))
    assert isinstance(error, errors.Unreachable)
    assert error.ambiguous


def test_chunked_body(api: Api) -> None:
    def chunked(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for piece in (OK[:7], OK[7:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
        handler.wfile.write(b"0\r\n\r\n")

    api.script = [chunked]
    assert connection(api.port).call("DescribeZones", {})["answer"] == 42


def test_body_until_the_end_of_the_connection(api: Api) -> None:
    def until_close(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.wfile.write(OK)
        handler.close_connection = True

    api.script = [until_close]
    assert connection(api.port).call("DescribeZones", {})["answer"] == 42


# -- how far it came ---------------------------------------------------------------------------------------------------


def test_no_answer_in_time_may_have_been_carried_out(api: Api) -> None:
    api.script = [api.stall]
    error = failing(connection(api.port, timeout=0.2))
    assert isinstance(error, errors.Timeout)
    assert error.ambiguous
    assert "whether it was carried out is not known" in error.message


def test_dripping_answer_has_a_deadline(api: Api) -> None:
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


def test_hang_up_may_have_been_carried_out(api: Api) -> None:
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
        for _ in range(4):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            crowd.append(one)
        error = failing(connection(port, timeout=0.2))
        for one in crowd:
            one.close()
    assert isinstance(error, errors.Timeout)
    assert not error.ambiguous


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Key and self-signed certificate for 127.0.0.1 in one file."""
    import datetime
    import ipaddress

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
    server = Api(context)
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


def test_file_that_holds_no_ca(tmp_path: Path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("nothing")
    with pytest.raises(errors.InvalidConfig, match="ca_file .*ca.pem cannot be used"):
        tls_context(Access(ca_file=str(path)))
    assert tls_context(Access(protocol="http")) is None


# -- what else the SDK does --------------------------------------------------------------------------------------------


def test_nothing_is_printed(api: Api, capfd: pytest.CaptureFixture[str]) -> None:
    api.script = [OK, b'{"ret_code":1400,"message":"no"}', b"junk", api.hang_up]
    connection(api.port).call("DescribeZones", {})
    for _ in range(3):
        failing(connection(api.port))
    assert capfd.readouterr() == ("", "")


def test_sockets_do_not_pile_up(api: Api) -> None:
    def descriptors() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    api.script = [lambda handler: api.reply(handler, b"no", 404)]
    link = connection(api.port)
    failing(link)
    before = descriptors()
    for _ in range(20):
        failing(link)
    # The server's side of the last ones may still be closing in its threads.
    deadline = time.monotonic() + 5
    while descriptors() > before + 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert descriptors() <= before + 2


def test_threads_get_their_own_answers(api: Api) -> None:
    def echo(handler: BaseHTTPRequestHandler) -> None:
        query = dict(parse_qsl(handler.path.partition("?")[2]))
        api.reply(handler, json.dumps({"ret_code": 0, "echo": query["word"]}).encode())

    api.script = [echo]
    link = connection(api.port)
    wrong: list[str] = []

    def work(number: int) -> None:
        for turn in range(10):
            word = f"{number}-{turn}"
            if link.call("DescribeNics", {"word": word})["echo"] != word:
                wrong.append(word)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert wrong == []
    assert len(api.asked) == 60


def test_observer_is_told_of_every_request(api: Api) -> None:
    told: list[tuple[str, str]] = []
    link = Connection(
        Access(host="127.0.0.1", protocol="http", port=api.port, key=KEY),
        FixedKeys(KEY),
        RateLimiter(1e6, 10),
        zone="pek3a",
        observe=lambda action, seconds, outcome: told.append((action, outcome)),
    )
    link.call("DescribeZones", {})
    api.script = [b'{"ret_code":1400,"message":"no"}']
    failing(link)
    assert told == [("DescribeZones", "ok"), ("CreateNics", "Denied")]


def test_every_request_takes_its_turn(api: Api) -> None:
    slept: list[float] = []
    limiter = RateLimiter(1, 1, clock=lambda: 0.0, sleep=slept.append)
    api.script = [b'{"ret_code":1300}', OK]
    connection(api.port, limiter=limiter).call("DescribeZones", {})
    assert slept == [1.0]


def test_rate_limit_voids_what_was_saved_up(api: Api) -> None:
    slept: list[float] = []
    limiter = RateLimiter(1, 10, clock=lambda: 0.0, sleep=slept.append)
    api.script = [b'{"ret_code":2500,"message":"QuotasExceeded, access too frequently, wait"}']
    link = connection(api.port, limiter=limiter)
    assert isinstance(failing(link), errors.RateLimited)
    failing(link)
    assert slept == [1.0]


def test_without_the_sdk_there_is_a_sentence(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sdk, "MISSING", ImportError("No module named 'qingcloud'"))
    with pytest.raises(errors.HostnicError, match="qingcloud-sdk is missing") as caught:
        connection(api.port).call("DescribeZones", {})
    assert caught.value.details["library"] == "qingcloud-sdk"


def test_import_without_third_parties() -> None:
    program = """
import sys
sys.modules.update(qingcloud=None, yaml=None)
sys.path[:0] = sys.argv[1:]
from hostnic import config, errors
from hostnic.cloud import build, sdk, credentials
try:
    sdk.Exchange(sdk.Route("127.0.0.1", 1, 1.0, None), credentials.Key("a", "b"), "pek3a")
except errors.HostnicError as error:
    print(error.message)
"""
    run = subprocess.run(
        [sys.executable, "-c", program, *sys.path], capture_output=True, text=True, check=True, timeout=30
    )
    assert run.stdout.startswith("the Python package qingcloud-sdk is missing")


def test_secrets_stay_out_of_sight(api: Api) -> None:
    link = connection(api.port, key=Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "topsecret" not in repr(link) + repr(Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "tokentoken" not in repr(Key("AKAKAKAK", "topsecret", "tokentoken"))
    assert "topsecret" not in repr(Access(key=Key("AKAKAKAK", "topsecret")))
