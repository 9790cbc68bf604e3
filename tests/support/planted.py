# SPDX-License-Identifier: GPL-3.0-or-later
"""A node's agent with planted secrets, at debug level, in front of an API that echoes whatever it is sent.

Everything that it says is kept by channel, for a test to look for the secrets in.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import sys
import tarfile
import threading
import traceback
import typing as t
from dataclasses import replace
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qsl, urlencode

from hostnic import config, wire
from hostnic.agent import logs, manage, questions, tcp
from hostnic.agent.door import Door
from hostnic.agent.server import Server
from hostnic.agent.tcp import TcpDoor
from hostnic.agent.unix import UnixDoor, listen_at
from hostnic.cloud.build import connect
from hostnic.cloud.credentials import read_access
from hostnic.cloud.keys import RoleKeys
from hostnic.cni.plugin import Plugin
from hostnic.cni.verbs import Host, Verbs
from hostnic.commands import cli
from hostnic.errors import HostnicError
from hostnic.store.sqlite import SqliteStore
from tests.support.node import Node
from tests.support.scripted_api import ScriptedApi

KEY_ID = "QYPLANTEDKEYID000001"
SECRET = "pLanTedSecret/ofTheAccessFile+0123456789ab="
ROLE_KEY_ID = "QYROLEPLANTED0000002"
ROLE_SECRET = "RoLePlantedSecret/0123456789+abcdefghijkl"
ROLE_TOKEN = "eyJhbGciOiJub25lIn0.eyJyb2xlIjoicGxhbnRlZCJ9.PlantedRoleToken0123456789"
TCP_TOKEN = "7c0ffee7c0ffee7c0ffee7c0ffee7c0ffee7c0ffee7c0ffee7c0ffee7c0ffee7c"
SECRETS = {
    "access-key-id": KEY_ID,
    "secret-key": SECRET,
    "role-key-id": ROLE_KEY_ID,
    "role-secret-key": ROLE_SECRET,
    "role-token": ROLE_TOKEN,
    "tcp-token": TCP_TOKEN,
}
CHANNELS = ("log", "cni-answers", "op-answers", "manage-pages", "errors", "tracebacks", "commands", "bundle", "journal")
JOURNALCTL = '#!/bin/sh\ncase "$*" in *--dmesg*) echo nothing;; *) cat {log} {former};; esac\n'


def query_of(handler: BaseHTTPRequestHandler, api: ScriptedApi) -> str:
    """As it was sent, signature and all; what a role's POST carried, decoded."""
    return handler.path.partition("?")[2] or urlencode(api.asked[-1][2])


class Planted:
    """`said` by channel; `signatures`: those that the API was sent."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.api = ScriptedApi()
        self.said: dict[str, list[str]] = {channel: [] for channel in CHANNELS}
        self.log = directory / "agent.log"
        self.access = directory / "planted.yaml"
        (directory / "run").mkdir()
        (directory / "run/token").write_text(f"{TCP_TOKEN}\n")
        self.configuration = directory / "QingAgent.yaml"
        self.configuration.write_text(
            f"vxnet: vxnet-a\nQYAccessFilePath: {self.access}\nstatedir: {directory}/state\n"
            f"rundir: {directory}/run\n# qy_secret_access_key: {SECRET}\n"
        )

    # -- the API: each answer echoes more than it should --------------------------------------------------------------

    def echo(self, code: int, beginning: str = "") -> t.Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            sent = query_of(handler, self.api)
            said = f"{beginning} you sent {sent} or {dict(parse_qsl(sent))}, signed with {SECRET} and {ROLE_SECRET}"
            self.api.reply(handler, json.dumps({"ret_code": code, "message": said}).encode())

        return answer

    def page(self, status: int) -> t.Callable[[BaseHTTPRequestHandler], None]:
        def answer(handler: BaseHTTPRequestHandler) -> None:
            text = f"<html>{SECRET} {ROLE_TOKEN} of {query_of(handler, self.api)}</html>"
            self.api.reply(handler, text.encode(), status)

        return answer

    def failures(self) -> list[t.Callable[[BaseHTTPRequestHandler], None]]:
        """What an API may answer; the long beginnings have `printable` cut within the secrets."""
        codes = (1100, 1200, 1300, 1400, 2100, 2500, 5000, 5100)
        cut = [self.echo(1400, "x" * (340 + 10 * step)) for step in range(8)]
        return [*map(self.echo, codes), *cut, self.page(500), self.page(200), self.api.hang_up]

    def metadata(self, handler: BaseHTTPRequestHandler) -> None:
        """The role's key."""
        key = {"access_key": ROLE_KEY_ID, "secret_key": ROLE_SECRET, "id_token": ROLE_TOKEN, "expiration": 4e9}
        self.api.reply(handler, json.dumps(key).encode())

    # -- the agent ----------------------------------------------------------------------------------------------------

    def write_access(self, **keys: t.Any) -> None:
        host = {"host": "127.0.0.1", "port": self.api.port, "protocol": "http", "connection_timeout": 5, **keys}
        self.access.write_text("".join(f"{name}: {json.dumps(value)}\n" for name, value in host.items()))
        self.access.chmod(0o600)

    def run(self) -> None:
        """Everything that may go wrong, with the log at debug level."""
        root, ours = logging.getLogger(), logging.getLogger("hostnic")
        before = (root.handlers[:], root.level, ours.level, sys.excepthook, threading.excepthook)
        with self.log.open("w") as stream:
            logs.set_up(stream, {}, "debug")
            try:
                store = SqliteStore(self.directory / "state")
                with Node(self.directory, store=store, pool_low=0, pool_high=0) as node:
                    node.run(10)
                    self._agent(node)
                    self.said["journal"].append(repr(store.load()))
                store.close()
                self._role()
                self._access_files()
                self._defects()
            finally:
                logging.captureWarnings(False)
                root.handlers[:] = before[0]
                root.setLevel(before[1])
                ours.setLevel(before[2])
                sys.excepthook, threading.excepthook = before[3:]
        self.said["log"].append(self.log.read_text())
        self._bundle()
        self.api.close()

    def _agent(self, node: Node) -> None:
        """Its access file changes to one with the planted key, for the API that echoes."""
        self.write_access(qy_access_key_id=KEY_ID, qy_secret_access_key=SECRET)
        self.access.replace(node.settings.access_file)
        node.emulator.cloud.access_keys.clear()  # the key before it would help
        self.write_access(qy_access_key_id=KEY_ID, qy_secret_access_key=SECRET)
        path = str(self.directory / "run/qingagent.sock")
        plugin = self._plugin(node)
        handlers = {wire.CNI: plugin.handle, **questions.handlers(node.engine, {"settings": lambda __: self._shown()})}
        listener = tcp.listen("127.0.0.1:0")
        ports: list[Door] = [UnixDoor(listen_at(path), handlers, os.getuid()), TcpDoor(listener, handlers, TCP_TOKEN)]
        server = Server(ports, node.pool.poke)
        server.start()
        try:
            for failure in self.failures():
                self.api.script = [failure]
                node.engine.orders.look()
                node.clock.advance(200.0)
                node.engine.reconciler.step()
                for op in handlers:
                    self._ask(path, op, {"address": SECRET, "nics": [SECRET], "token": TCP_TOKEN})
                self._by_tcp(listener.getsockname())
                self._cni(plugin)
                self._pages(node)
                self._commands(path)
                self._caught(lambda: node.cloud.describe_nics(instance_id=SECRET))
                self._caught(lambda: node.cloud.create_nics("vxnet-pods001", 1, f"signature={SECRET}"))
        finally:
            server.stop(5)

    def _plugin(self, node: Node) -> Plugin:
        verbs = Verbs(node.pool, node.kernel, node.clock.now, Host(("vxnet-pods001",), "FailRotate", "eth0"))
        return Plugin(verbs, "127.0.0.1:31080", wire.boottime, tuple)

    def _shown(self) -> dict[str, t.Any]:
        return {"QYAccessFilePath": str(self.access), "wrong": f"qy_secret_access_key: {SECRET}"}

    def _ask(self, path: str, op: str, params: dict[str, t.Any]) -> None:
        try:
            self.said["op-answers"].append(json.dumps(wire.ask(path, op, params)))
        except HostnicError as error:
            self._keep(error)
            self.said["op-answers"].append(f"{error.message} {error.details}")

    def _by_tcp(self, address: tuple[str, int]) -> None:
        """With the token in its place, in others, and in bytes that are no request."""
        now = wire.boottime()
        for op in ("pool", "settings", f"no such op {TCP_TOKEN}"):
            request = wire.Request(op, TCP_TOKEN, now + 5, now, params={"token": TCP_TOKEN})
            self.said["op-answers"].append(self._sent(address, wire.encode_request(request, TCP_TOKEN)))
        body = json.dumps({"token": TCP_TOKEN, "id": "x", "op": "pool", "protocol": TCP_TOKEN}).encode()
        for frame in (
            len(body).to_bytes(4, "big") + body,
            TCP_TOKEN.encode() * 4,
            b"\0\0\0" + bytes((len(TCP_TOKEN),)) + TCP_TOKEN.encode(),
        ):
            self.said["op-answers"].append(self._sent(address, frame))

    def _sent(self, address: tuple[str, int], frame: bytes) -> str:
        with socket.create_connection(address, 10) as connection:
            try:
                connection.sendall(frame)
                answer = connection.recv(1 << 20)
            except OSError:
                answer = b""
        # the id is the caller's own, and comes back
        return answer.decode("utf-8", "replace").replace(f'"id":"{TCP_TOKEN}"', "")

    def _cni(self, plugin: Plugin) -> None:
        """An ADD waits in vain, for what the API has last refused."""
        netns = os.open("/proc/self/ns/net", os.O_RDONLY)
        for verb in ("ADD", "STATUS", "DEL", "CHECK"):
            env = {"CNI_COMMAND": verb, "CNI_CONTAINERID": "c1", "CNI_IFNAME": "eth0", "CNI_NETNS": "/run/netns/x",
                   "CNI_PATH": "/opt/cni/bin", "CNI_ARGS": f"K8S_POD_NAME={TCP_TOKEN}"}  # fmt: skip
            conf = {"cniVersion": "1.1.0", "name": "pods", "type": "qingcni", "mtu": SECRET}
            now = wire.boottime()
            request = wire.Request("cni", "r1", now + 0.05, now, env, json.dumps(conf), "")
            for one in (request, replace(request, stdin=json.dumps({**conf, "mtu": 1500}))):
                self.said["cni-answers"].append(str(plugin.handle(one, netns, lambda: False)))
        os.close(netns)

    def _pages(self, node: Node) -> None:
        shown = questions.shown(node.engine, {"settings": lambda __: self._shown()})
        pages = manage.pages(lambda: b"", "text/plain", list, node.engine.pool.unable, shown)
        self.said["manage-pages"] += [str(page()) for page in pages.values()]

    def _commands(self, path: str) -> None:
        """Through the real command line; its streams are looked at."""
        before = sys.stdout, sys.stderr
        sys.stdout = sys.stderr = io.StringIO()
        try:
            for command in (["config"], ["config", "--output", "json"], ["config", "--loglevel", SECRET]):
                cli.main([*command, "--config", str(self.configuration)])
            for command in (["explain"], ["pool"], ["status"], ["release", SECRET], ["reload"]):
                cli.main([command[0], "--socket", path, *command[1:]])
            cli.main(["start", "--config", str(self.access)])  # one file in place of the other
            cli.main(["start", "--zone", SECRET])
            self.said["commands"].append(sys.stdout.getvalue())
        finally:
            sys.stdout, sys.stderr = before

    def _role(self) -> None:
        """The role's token is sent with each call, and comes back with each failure."""
        self.write_access(credential_proxy_host="127.0.0.1", credential_proxy_port=self.api.port,
                          credential_proxy_protocol="http")  # fmt: skip
        for failure in self.failures():
            self.api.script = [self.metadata, failure]
            settings = config.Settings(access_file=str(self.access), vxnet=("vxnet-a",))
            cloud = connect(settings, sleep=lambda __: None)
            self._caught(partial(cloud.create_nics, "vxnet-a", 1, "x"))
        for body in (f"{ROLE_TOKEN}", json.dumps({"secret_key": ROLE_SECRET}), json.dumps([ROLE_TOKEN])):
            self.api.script = [body.encode()]
            self._caught(RoleKeys(f"http://127.0.0.1:{self.api.port}/x").current)

    def _access_files(self) -> None:
        """Every way to write it wrong."""
        good = f"qy_access_key_id: {KEY_ID}\nqy_secret_access_key: {SECRET}\n"
        for text in (
            f"{good}host: [",
            f"{good}host: '{SECRET}'",
            f"{good}zone: '{SECRET}'",
            f"{good}port: '{SECRET}'",
            f"{good}ca_file: '{SECRET}'",
            f"{good}uri: '{KEY_ID}'",
            f"qy_acess_key_id: {KEY_ID}\nqy_secret_acess_key: {SECRET}\n",
            f"qy_access_key_id: {KEY_ID}\nqy_secret_access_key: '{SECRET} {SECRET}'\n",
            f"qy_secret_access_key: {SECRET}\n",
            f"qy_secret_access_key: {SECRET}\n  what: is this\n",
            f"- {good}",
        ):
            self.access.write_text(text)
            self.access.chmod(0o600)
            self._caught(lambda: read_access(str(self.access)))
        self.access.chmod(0o644)
        self.access.write_text(good)
        self._caught(lambda: read_access(str(self.access)))

    def _defects(self) -> None:
        """An exception that nobody foresaw, in a thread and where it is caught; a line that cannot be made."""

        def broken() -> None:
            raise RuntimeError(f"{KEY_ID} {SECRET} {ROLE_TOKEN} {TCP_TOKEN} {ROLE_SECRET} {ROLE_KEY_ID}")

        thread = threading.Thread(target=broken)
        thread.start()
        thread.join()
        log = logging.getLogger("hostnic.test")
        try:
            broken()
        except RuntimeError as error:
            log.exception("%s", error)
        log.info("%d of %s", SECRET, TCP_TOKEN)

    def _caught(self, action: t.Callable[[], object]) -> None:
        try:
            action()
        except HostnicError as error:
            self._keep(error)
        except ValueError as error:  # a defect of this test's own
            raise AssertionError(action) from error

    def _keep(self, error: HostnicError) -> None:
        self.said["errors"].append(f"{error} {error!r} {error.message} {error.details} {error.facts()}")
        self.said["tracebacks"] += traceback.format_exception(type(error), error, error.__traceback__)

    # -- the bundle ---------------------------------------------------------------------------------------------------

    def _bundle(self) -> None:
        """Of a log that an older agent has written into as well, which filtered nothing."""
        former = self.directory / "former.log"
        signed = "GET /iaas/?access_key_id={}&signature=FormerSignature%2F012345678&token={}"
        former.write_text("\n".join([*SECRETS.values(), signed.format(KEY_ID, "FormerTokenOfARole01")]))
        programs = self.directory / "bin"
        programs.mkdir()
        (programs / "journalctl").write_text(JOURNALCTL.format(log=self.log, former=former))
        (programs / "journalctl").chmod(0o755)
        self.write_access(qy_access_key_id=KEY_ID, qy_secret_access_key=SECRET)
        spool = self.directory / "state/spool"
        spool.mkdir(parents=True, exist_ok=True)
        (spool / "1-x.json").write_text(json.dumps({"stdin": json.dumps({"token": TCP_TOKEN, "k": SECRET})}))
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{programs}:{path}"
        before, sys.stdout = sys.stdout, io.StringIO()
        bundle = self.directory / "bundle.tar.gz"
        try:
            named = ["--config", str(self.configuration)]
            status = cli.main(["support-bundle", *named, "--file", str(bundle), "--output", "json"])
            self.said["bundle"].append(sys.stdout.getvalue())
        finally:
            sys.stdout = before
            os.environ["PATH"] = path
        if status:
            raise AssertionError(f"the bundle was not written: {status}")
        with tarfile.open(bundle) as archive:
            for member in archive:
                content = archive.extractfile(member)
                self.said["bundle"].append(f"{member.name}\n{content.read().decode() if content else ''}")
