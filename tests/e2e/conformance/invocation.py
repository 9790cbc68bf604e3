# SPDX-License-Identifier: GPL-3.0-or-later
"""Rows 1 to 20: how the executable is called and how it answers."""

from __future__ import annotations

import json
import re
import typing as t

from tests.e2e.conformance.bench import EXECUTABLE
from tests.e2e.conformance.cell import Cell
from tests.e2e.conformance.rows import (
    ABSENT,
    ATTACHMENT,
    CONFIGURED,
    VERBS,
    VERSIONS,
    Changes,
    Row,
    accepts,
    keys,
    refuses,
    variables,
)

REQUIRED: t.Final = {
    "ADD": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "DEL": ("CNI_CONTAINERID", "CNI_IFNAME", "CNI_PATH"),
    "CHECK": ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_PATH"),
    "GC": ("CNI_PATH",),
    "STATUS": ("CNI_PATH",),
    "VERSION": (),
}
OPTIONAL: t.Final = ("CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME", "CNI_ARGS", "CNI_PATH")
NOT_NETNS: t.Final = ("/run/netns/conf-nowhere", "/dev/null", "/proc/self/ns/mnt", "/run", "/proc/1/ns/user")
LIBCNI_TRACE: t.Final = {"TRACEPARENT": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                         "TRACESTATE": "a=b", "BAGGAGE": "c=d"}  # fmt: skip


# -- 1 to 3: streams, exit status, variables -----------------------------------------------------------------------


def error_object(cell: Cell) -> None:
    for told in (
        cell.refused(4, "CNI_PATH", env={"CNI_PATH": ABSENT}),
        cell.refused(7, "name", config={"name": "-"}),
    ):
        assert told["cniVersion"] == cell.version, told
        assert isinstance(told["code"], int)
        assert told["msg"]
        assert isinstance(told["details"], str)


def optional(cell: Cell) -> None:
    needless = set(OPTIONAL) - set(REQUIRED[cell.verb])
    cell.succeeds(env=dict.fromkeys(needless, ABSENT))
    cell.succeeds(env=dict.fromkeys(needless, ""))


# -- 4 to 9: missing and invalid ones ------------------------------------------------------------------------------


def missing(cell: Cell) -> None:
    required = REQUIRED[cell.verb]
    for gone in (ABSENT, ""):
        sentence = f"required env variables [{','.join(required)}] missing"
        told = cell.refused(4, env=dict.fromkeys(required, gone))
        assert told["msg"] == sentence, told
        for name in required:
            assert cell.refused(4, env={name: gone})["msg"] == f"required env variables [{name}] missing"


def long_container_id(cell: Cell) -> None:
    name = f"{'x' * 240}_-.{cell.bench.number()}"
    if cell.verb == "CHECK":
        cell.own(env={"CNI_CONTAINERID": name})
    cell.succeeds(env={"CNI_CONTAINERID": name})


def long_ifname(cell: Cell) -> None:
    name = "é" * 6 + "abc"  # 15 bytes
    own = cell.own(env={"CNI_IFNAME": name})
    if cell.verb != "ADD":
        cell.succeeds(env={"CNI_IFNAME": name})
    assert set(own.pod.links()) == (set() if cell.verb == "DEL" else {name})


BAD_IDS: t.Final = variables(*({"CNI_CONTAINERID": name} for name in ("-c", ".c", "_c", "a/b", "a b", "ä", "c\n")))
BAD_NAMES: t.Final = keys(*({"name": name} for name in (ABSENT, "", "-n", ".n", "a/b", "a b", "ä", "n\n", 7, ["n"])))
BAD_IFNAMES: t.Final = variables(
    *({"CNI_IFNAME": name} for name in (".", "..", "a/b", "a:b", "a b", "a\n", "a\u00a0b", "sixteen-letters-"))
)
NOT_UTF8: t.Final = variables({"CNI_IFNAME": "eth\udcff"}, {"CNI_CONTAINERID": "c\udcff"})


# -- 10 to 13: stdin, the verb, the netns --------------------------------------------------------------------------


def not_json(cell: Cell) -> None:
    whole = json.dumps({"cniVersion": cell.version, "name": "n"})
    for stdin in ("", " ", whole[:-1], f"{whole}x", f"[{whole}]", "null", '"text"', "\udcff", "[" * 5000):
        cell.refused(6, stdin=stdin)


def too_large(cell: Cell) -> None:
    cell.refused(7, "too large", config={"x": "y" * (1 << 20)})


def unreadable(cell: Cell) -> None:
    cell.refused(5, "stdin", deaf=True)


def unknown_verb(cell: Cell) -> None:
    wrong = cell.verb.lower()
    cell.refused(4, f"unknown CNI_COMMAND: {wrong}", env={"CNI_COMMAND": wrong})
    cell.refused(6, env={"CNI_COMMAND": wrong}, stdin="{")
    cell.refused(7, "name", env={"CNI_COMMAND": wrong}, config={"name": ABSENT})


def no_verb(cell: Cell) -> None:
    for gone in (ABSENT, ""):
        reply = cell.call(env={"CNI_COMMAND": gone})
        assert (reply.exit, reply.stdout) == (0, ""), reply
        assert f"CNI protocol versions supported: {', '.join(VERSIONS)}" in reply.stderr


def no_netns(cell: Cell) -> None:
    for path in NOT_NETNS:
        cell.refused(8, "CNI_NETNS", env={"CNI_NETNS": path})


def hosts_netns(cell: Cell) -> None:
    for path in ("/proc/self/ns/net", "/proc/1/ns/net"):
        cell.refused(8, "should not be the same", env={"CNI_NETNS": path})


def hosts_netns_of_a_del(cell: Cell) -> None:
    """Nobody's DEL of the host's own eth0 is a success that touches nothing."""
    before = cell.bench.ip("addr", "show", "dev", "eth0")[0]["addr_info"]
    cell.call(env={"CNI_NETNS": "/proc/1/ns/net"}).nothing()
    assert cell.bench.ip("addr", "show", "dev", "eth0")[0]["addr_info"] == before


def real_handlers(cell: Cell) -> None:
    """What an empty handler would call a success."""
    if cell.verb == "CHECK":
        cell.refused(118, "no lease", env={"CNI_CONTAINERID": "never-added"})
    elif cell.verb == "GC":
        cell.refused(7, "nothing was released", config={"cni.dev/valid-attachments": ABSENT})
    else:
        cell.refused(7, "mtu", config={"mtu": "x"})


# -- 15 to 17: versions, CNI_ARGS ----------------------------------------------------------------------------------


def exact_version(cell: Cell) -> None:
    own = cell.version
    for near in (f"{own}.0", own[:-2], f"v{own}", f"{own} ", f" {own}", f"{own}-rc1", f"0{own}", "1.2.0", "9.0.0"):
        told = cell.refused(1, config={"cniVersion": near})
        assert near in told["details"], told
        if told["msg"] == "incompatible CNI versions":
            assert all(version in told["details"] for version in VERSIONS), told


def no_version(cell: Cell) -> None:
    """ABSENT, "" and 0.1.0 are one."""
    for gone in (ABSENT, ""):
        if cell.verb == "ADD":
            told = cell.succeeds(config={"cniVersion": gone}).document()
            assert told["cniVersion"] == "0.1.0"
            assert "ip4" in told
        else:
            cell.succeeds(config={"cniVersion": gone})


def too_old(cell: Cell) -> None:
    told = cell.refused(1, f"config version does not allow {cell.verb}")
    assert cell.version in told["details"]


BAD_ARGS: t.Final = variables(
    *({"CNI_ARGS": text} for text in ("x", "A=b;", "A=b=c", "=;x", "A=b", "A=b;IgnoreUnknown=0"))
)
KUBELET_ARGS: t.Final = (
    "K8S_POD_NAMESPACE=n;K8S_POD_NAME=p;K8S_POD_INFRA_CONTAINER_ID=i;K8S_POD_UID=u;K8S_POD_SUB=x;IgnoreUnknown="
)
GOOD_ARGS: t.Final = variables(*({"CNI_ARGS": KUBELET_ARGS + word} for word in ("1", "true", "TRUE")))


# -- 18 to 20 ------------------------------------------------------------------------------------------------------


def not_written_in_place(cell: Cell) -> None:
    """What is replaced is a link on the way to it, never a file that somebody may be executing."""
    resolved = cell.bench.sh("readlink", "-f", EXECUTABLE).strip()
    assert re.fullmatch(r"/usr/lib/hostnic/[0-9a-f]{12,}/.*qingcni", resolved), resolved
    assert cell.bench.sh("readlink", "/usr/lib/hostnic/current").strip() in resolved
    cell.succeeds()


def at_the_same_time(cell: Cell) -> None:
    pods = [cell.pod() for _ in range(3)]
    if cell.verb == "ADD":
        commands = [cell.command((pod, pod.name)) for pod in pods]
    else:
        owned = [cell.own(pod=pod) for pod in pods]
        commands = [cell.command((one.pod, one.container), config={"prevResult": one.result}) for one in owned]
    replies = cell.bench.run(*commands, together=True)
    if cell.verb == "ADD":
        macs = {pod.links()["eth0"]["address"] for pod in pods}
        assert len(macs) == len(pods)
        for pod, reply in zip(pods, replies):
            assert pod.addresses()[0] in json.dumps(reply.document())
            cell.own(pod=pod)  # the same again, so that it ends with the cell
    else:
        assert [(reply.exit, reply.stdout) for reply in replies] == [(0, "")] * len(pods)
        assert [set(pod.links()) for pod in pods] == [set() if cell.verb == "DEL" else {"eth0"}] * len(pods)


ONE_DOCUMENT: t.Final = accepts([Changes()])
ROWS: t.Final = (
    Row("1-document", "success prints one JSON document on stdout", ("ADD", "VERSION"), ONE_DOCUMENT, runtimes=True),
    Row("1-nothing", "success prints nothing on stdout", ("DEL", "CHECK", "GC", "STATUS"), ONE_DOCUMENT, runtimes=True),
    Row("2-error", "failure: exit status not 0, and on stdout an object of cniVersion (the configuration's), code, "
        "msg, details", CONFIGURED, error_object),
    Row("3-optional", "variables that the verb does not need may be absent or empty", VERBS, optional),
    Row("4-missing", "all missing variables are named in one message, code 4; an empty one is missing",
        CONFIGURED, missing),
    Row("5-needless", "a variable is checked only by verbs that need it", ("GC", "STATUS", "VERSION"),
        accepts(variables({"CNI_CONTAINERID": "a/b", "CNI_IFNAME": "a/b", "CNI_NETNS": "/nowhere"}))),
    Row("6-container", "a container id of other signs than letters, digits, `_.-`, or not beginning with a letter or "
        "digit: code 4", ATTACHMENT, refuses(4, "CNI_CONTAINERID", each=BAD_IDS)),
    Row("6-long", "a container id may be long", ATTACHMENT, long_container_id),
    Row("7-network", "no network name, or one of other signs: code 7", CONFIGURED, refuses(7, "name", each=BAD_NAMES)),
    Row("8-ifname", "an interface name of more than 15 bytes, `.`, `..`, or with `/`, `:`, white space: code 4",
        ATTACHMENT, refuses(4, "CNI_IFNAME", each=BAD_IFNAMES)),
    Row("8-percent", "an interface name with `%`, which the kernel would number: code 4", ATTACHMENT,
        refuses(4, "CNI_IFNAME", each=variables({"CNI_IFNAME": "eth%d"}))),
    Row("8-longest", "15 bytes of UTF-8 are an interface name", ATTACHMENT, long_ifname),
    Row("9-bytes", "variables are bytes: what is not UTF-8 is refused with code 4, not with a crash", ATTACHMENT,
        refuses(4, each=NOT_UTF8)),
    Row("10-json", "stdin that is no JSON object: code 6", CONFIGURED, not_json),
    Row("10-large", "stdin of more than 1 MiB: code 7", CONFIGURED, too_large),
    Row("10-read", "stdin that cannot be read: code 5", CONFIGURED, unreadable),
    Row("11-unknown", "an unknown verb (here in lower case): code 4, after stdin was checked", CONFIGURED,
        unknown_verb),
    Row("12-about", "no CNI_COMMAND: who it is and its versions on stderr, exit status 0", ("VERSION",), no_verb),
    Row("13-netns", "CNI_NETNS that is gone or no network namespace: code 8", ("ADD", "CHECK"), no_netns),
    Row("13-host", "CNI_NETNS that is the host's own: code 8, before anything is touched", ("ADD", "CHECK"),
        hosts_netns),
    Row("13-host-del", "the same for a DEL: success, and nothing is touched", ("DEL",), hosts_netns_of_a_del),
    Row("14-handlers", "verbs do what they say: what an empty handler would let pass fails", ("CHECK", "GC", "STATUS"),
        real_handlers),
    Row("15-exact", "cniVersion is one of the seven, sign for sign: else code 1, details name both sides", CONFIGURED,
        exact_version),
    Row("15-none", "no cniVersion, or an empty one, is 0.1.0", ("ADD", "DEL"), no_version, versions=VERSIONS[:1]),
    Row("16-old", "CHECK before 0.4.0, GC and STATUS before 1.1.0: code 1", ("CHECK", "GC", "STATUS"), too_old,
        forbidden=True),
    Row("17-args", "CNI_ARGS with a pair that is none, or with an unknown name: code 4", ("ADD",),
        refuses(4, "CNI_ARGS", each=BAD_ARGS)),
    Row("17-unknown", "unknown names pass with IgnoreUnknown 1 or true, in any case", ("ADD",), accepts(GOOD_ARGS),
        runtimes=True),
    Row("17-later", "CNI_ARGS keep no other verb from working", VERBS[1:], accepts(variables({"CNI_ARGS": "x;y=z=0"}))),
    Row("18-replaced", "the executable is replaced by a rename, never written in place", ("VERSION",),
        not_written_in_place),
    Row("19-trace", "TRACEPARENT, TRACESTATE and BAGGAGE do no harm", VERBS, accepts(variables(LIBCNI_TRACE))),
    Row("20-together", "different containers at the same time", ATTACHMENT, at_the_same_time),
)  # fmt: skip
