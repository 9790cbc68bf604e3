# SPDX-License-Identifier: GPL-3.0-or-later
"""qingcni, the CNI executable: carries a call to the agent and prints what comes back. docs/wire.md is its contract.

It starts in the time of a bare interpreter: C modules only, none of them with Python code behind it, no annotations
import, no site. The launcher runs this body as `__main__` with `python3 -I -S`; it leaves by `posix._exit`. What
Debian's interpreter keeps in files beside it, as _json, is loaded only where it is needed.
"""

import _socket
import posix
import sys
import time

PROTOCOL = 1
SUPPORTED = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
SOCKET = b"/run/qingagent/qingagent.sock"
SPOOL = b"/var/lib/qingagent/spool"
AHEAD = b"/run/qingagent/ahead"
# The file of a call that went ahead, as the launcher leaves it: texts that NULs end. This one is the configuration, it
# was on stdin before.
WRITTEN, CONFIG = b"/proc/self/fd/9", 6
BOOT_ID = b"/proc/sys/kernel/random/boot_id"

# Seconds until a verb gives up. Runtimes allow two minutes and more; a DEL can be spooled, a STATUS must not dawdle.
WAITS = {"ADD": 90.0, "DEL": 30.0, "CHECK": 30.0, "GC": 60.0, "STATUS": 3.0}
OTHER_WAIT = 30.0
# The agent is told to be done this much earlier, so that its own words arrive instead of ours.
MARGIN = 2.0
# Seconds in which a socket that nobody listens on may come back: an agent that restarts without its socket unit.
PATIENCE = 3.0
# So many waits for an answer are so many seconds short: while this processor does not sleep through the ticks of its
# clock, the kernel is sooner done with a NIC. See docs/performance.md.
NAPS, NAP = 20, 0.002
MAX_BODY = 1 << 20
VERSION_STDIN_WAIT = 1.0

# CNI's error codes, and ours from 100
IO_FAILURE, BAD_CONFIG, TRY_AGAIN, NOT_AVAILABLE = 5, 7, 11, 50
NO_AGENT, BAD_ANSWER, INTERNAL = 100, 101, 102


class Failure(Exception):
    """(code, message, details): what becomes the error object."""


class Away(Failure):
    """The agent did not answer; a DEL is spooled then."""


class _Scan:
    """The settings that `_json.make_scanner` asks for."""

    strict = True
    object_hook = object_pairs_hook = array_hook = None
    parse_float = parse_constant = float
    parse_int = int


def main(
    environ: "dict[bytes, bytes] | None" = None,
    address: bytes = SOCKET,
    spool: bytes = SPOOL,
    waits: "dict[str, float] | None" = None,
    patience: float = PATIENCE,
) -> None:
    """Run and leave the process. The parameters are for tests; nothing outside of this call changes them."""
    status = 1
    try:
        status = _run(
            posix.environ if environ is None else environ, address, spool, WAITS if waits is None else waits, patience
        )
    except BaseException as error:
        try:  # noqa: SIM105 - contextlib is Python code
            _print_error(INTERNAL, "a defect of qingcni", f"{type(error).__name__}: {error}", b"")
        except OSError:
            pass  # nobody reads
    posix._exit(status)


def _run(
    environ: "dict[bytes, bytes]", address: bytes, spool: bytes, waits: "dict[str, float]", patience: float
) -> int:
    env = {_text(name): _text(value) for name, value in environ.items() if name.startswith(b"CNI_")}
    verb = env.get("CNI_COMMAND", "")
    if not verb:
        _write(2, f"CNI plugin qingcni\nCNI protocol versions supported: {', '.join(SUPPORTED)}\n".encode())
        return 0
    if verb == "VERSION":
        return _version()
    config = b""
    ahead = sys.argv[1] if len(sys.argv) > 1 else ""
    request_id = ahead or posix.urandom(8).hex()
    try:
        config = _read_config(ahead)
        return _carry(verb, env, config, request_id, address, spool, waits.get(verb, OTHER_WAIT), patience)
    except Failure as failure:
        code, message, details = failure.args
        if verb == "STATUS" and isinstance(failure, Away):
            code = NOT_AVAILABLE
        # what the agent's log has of it as well, where it came that far
        named = f"request={request_id}"
        _print_error(code, message, f"{details}; {named}" if details else named, config)
        return 1
    finally:
        if ahead:
            _withdraw(ahead)


def _withdraw(ahead: str) -> None:
    """Nobody waits any more for what may have gone ahead; nearly always the agent has taken it away."""
    try:  # noqa: SIM105 - contextlib is Python code
        posix.unlink(b"%s/%s" % (AHEAD, ahead.encode()))
    except OSError:
        pass


def _carry(
    verb: str,
    env: "dict[str, str]",
    config: bytes,
    request_id: str,
    address: bytes,
    spool: bytes,
    wait: float,
    patience: float,
) -> int:
    now = _now()
    netns, problem = _open_netns(env.get("CNI_NETNS", ""))
    request = {
        "protocol": str(PROTOCOL),
        "id": _quote(request_id),
        "op": '"cni"',
        "deadline": repr(now + max(wait - MARGIN, wait / 2)),
        "asked_at": repr(now),
        "env": _object({name: _quote(value) for name, value in env.items()}),
        "stdin": _quote(_text(config)),
        "netns_error": _quote(problem),
    }
    try:
        answer = _ask(address, _frame(request), netns, now + wait, 0.0 if verb == "DEL" else patience)
        if PROTOCOL > 1 and _refuses_protocol(answer):
            request["protocol"] = str(PROTOCOL - 1)
            answer = _ask(address, _frame(request), netns, now + wait, 0.0 if verb == "DEL" else patience)
    except Away as away:
        if verb != "DEL":
            raise
        _spool(spool, request, request_id, away)
        return 0
    return _print_answer(answer, request_id)


def _frame(request: "dict[str, str]") -> bytes:
    body = _object(request).encode("ascii")
    if len(body) > MAX_BODY:
        raise Failure(BAD_CONFIG, "the network configuration is too large: 1 MiB with the environment is allowed", "")
    return len(body).to_bytes(4, "big") + body


# -- the agent --------------------------------------------------------------------------------------------------------


def _ask(address: bytes, frame: bytes, netns: int, until: float, patience: float) -> bytes:
    """The body of the answer. Asks again where the connection ends without one: the same call has the same outcome."""
    met = False
    silent_since = _now()
    pause = 0.01
    while True:
        left = until - _now()
        if left <= 0:
            raise Away(TRY_AGAIN, "qingagent did not answer in time: try again, or see journalctl -u qingagent", "")
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.settimeout(left)
            connection.connect(address)
            met = True
            answer = _exchange(connection, frame, netns, until)
            if answer is not None:
                return answer
            silent_since = _now()
        except _socket.timeout:
            continue  # the time is over
        except BlockingIOError:
            pass  # its queue is full: it is alive
        except OSError as error:
            if not met and not isinstance(error, ConnectionRefusedError):
                raise _absent(error, address) from None
            if _now() - silent_since >= patience:
                remedy = "try again, or systemctl start qingagent.socket"
                raise Away(TRY_AGAIN, f"nobody listens on qingagent's socket: {remedy}", _text(address)) from None
        finally:
            connection.close()
        time.sleep(max(0.0, min(pause, until - _now())))
        pause = min(2 * pause, 1.0)


def _absent(error: OSError, address: bytes) -> Away:
    """Waiting does not help."""
    remedy = "run the qingagent role, or systemctl start qingagent.socket"
    if isinstance(error, PermissionError):
        remedy = "its socket is for root, run the runtime as root"
    return Away(NO_AGENT, f"qingagent cannot be reached: {remedy}", f"{_text(address)}: {error.strerror}")


def _exchange(connection: _socket.socket, frame: bytes, netns: int, until: float) -> "bytes | None":
    """One request, one answer; None where the agent hung up before the answer's end."""
    beside = []
    if netns >= 0:
        beside = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, netns.to_bytes(4, sys.byteorder))]
    try:
        sent = connection.sendmsg([frame], beside)
        while sent < len(frame):
            sent += connection.send(frame[sent:])
        # tried out while there is time: what comes a second time is read quicker
        _plain_answer(b'{"id":"","exit":0,"stdout":"{\\"a\\":\\"b\\"}","stderr":""}', "")
        answer = b""
        wanted = 4
        while len(answer) < wanted:
            data = _receive(connection, until)
            if not data:
                return None
            answer += data
            if len(answer) >= 4:
                wanted = 4 + int.from_bytes(answer[:4], "big")
                if wanted > 4 + MAX_BODY:
                    raise Failure(BAD_ANSWER, "qingagent's answer is not understood: restart it", "too long")
        return answer[4:wanted]
    except (BrokenPipeError, ConnectionResetError):
        return None


def _receive(connection: _socket.socket, until: float) -> bytes:
    """What has come, empty at the end; `_socket.timeout` where nothing has until then."""
    connection.settimeout(NAP)
    for __ in range(NAPS):
        try:
            return connection.recv(65536)
        except _socket.timeout:
            pass
    connection.settimeout(max(NAP, until - _now()))
    return connection.recv(65536)


def _refuses_protocol(body: bytes) -> bool:
    """The agent is of the release before, as for a moment while a node is upgraded or rolled back."""
    try:
        error = _decode(_decode(body)["stdout"].encode("utf-8", "surrogateescape"))  # type: ignore[attr-defined]
        return error["code"] == BAD_ANSWER and error["details"].startswith("ProtocolMismatch")  # type: ignore
    except (ValueError, LookupError, AttributeError):
        return False  # told by whoever prints it


def _print_answer(body: bytes, request_id: str) -> int:
    plain = _plain_answer(body, request_id)
    if plain is not None:
        _write(1, plain[1])
        return plain[0]
    try:
        answer = _decode(body)
        status, stdout, stderr = answer["exit"], answer["stdout"], answer["stderr"]
        if not (isinstance(status, int) and isinstance(stdout, str) and isinstance(stderr, str)):
            raise ValueError("a wrong type")
        if answer["id"] != request_id:
            raise ValueError("another request's answer")
    except (ValueError, LookupError) as error:
        raise Failure(
            BAD_ANSWER,
            "qingagent's answer is not understood: roll out the agent and qingcni of one release",
            f"{type(error).__name__}: {error}",
        ) from None
    _write(2, stderr.encode("utf-8", "backslashreplace"))
    _write(1, stdout.encode("utf-8", "surrogateescape"))
    return status


def _plain_answer(body: bytes, request_id: str) -> "tuple[int, bytes] | None":
    """Exit status and stdout of an answer that is as good as all are; None for one that takes a parser of JSON."""
    status, mark, rest = body.partition(b',"stdout":"')
    stdout, tail, end = rest.rpartition(b'","stderr":""}')
    head = b'{"id":"%s","exit":' % request_id.encode()
    digit = status[len(head) :]
    if end or not (mark and tail and status.startswith(head) and digit.isdigit() and len(digit) == 1):
        return None
    pieces = []
    for piece in stdout.split(b"\\\\"):
        words = piece.split(b'\\"')
        if any(b"\\" in word or b'"' in word for word in words):
            return None
        pieces.append(b'"'.join(words))
    return int(digit), b"\\".join(pieces)


# -- a DEL while the agent is away ------------------------------------------------------------------------------------


def _spool(directory: bytes, request: "dict[str, str]", request_id: str, away: Away) -> None:
    """Write the DEL down so that it survives a power cut; the agent carries it out when it is back."""
    name = b"%s/%020d-%s" % (directory, int(_now() * 1e9), request_id.encode())
    try:
        # by which release the agent will be that finds this, nobody knows: both speak the protocol before
        protocol = str(max(1, PROTOCOL - 1))
        text = _object({**request, "protocol": protocol, "boot_id": _quote(_boot_id())}) + "\n"
        try:
            file = _create(name + b".tmp")
        except FileNotFoundError:
            for missing in (directory[: directory.rindex(b"/")], directory):
                try:  # noqa: SIM105
                    posix.mkdir(missing, 0o700)
                except FileExistsError:
                    pass
            file = _create(name + b".tmp")
        try:
            _write(file, text.encode("ascii"))
            posix.fsync(file)
        finally:
            posix.close(file)
        posix.rename(name + b".tmp", name + b".json")
        folder = posix.open(directory, posix.O_RDONLY | posix.O_DIRECTORY | posix.O_CLOEXEC)
        try:
            posix.fsync(folder)
        finally:
            posix.close(folder)
    except OSError as error:
        raise Failure(
            IO_FAILURE,
            f"qingagent is away and {_text(directory)} cannot keep the DEL: make room there, or start qingagent",
            f"{error}; {away.args[1]}",
        ) from None


def _create(path: bytes) -> int:
    return posix.open(path, posix.O_WRONLY | posix.O_CREAT | posix.O_EXCL | posix.O_CLOEXEC, 0o600)


def _boot_id() -> str:
    file = posix.open(BOOT_ID, posix.O_RDONLY | posix.O_CLOEXEC)
    try:
        return _text(posix.read(file, 64)).strip()
    finally:
        posix.close(file)


# -- VERSION ----------------------------------------------------------------------------------------------------------


def _version() -> int:
    """Answered here, with the caller's own version where stdin has one."""
    supported = ",".join(map(_quote, SUPPORTED))
    answer = _object({"cniVersion": _quote(_version_asked()), "supportedVersions": f"[{supported}]"})
    _write(1, f"{answer}\n".encode())
    return 0


def _version_asked() -> str:
    import select  # a C module as well; only people's shells make this wait

    data = b""
    until = _now() + VERSION_STDIN_WAIT
    try:
        if posix.isatty(0):
            return SUPPORTED[-1]
        while len(data) < 65536 and select.select([0], [], [], max(0.0, until - _now()))[0]:
            piece = posix.read(0, 65536)
            if not piece:
                break
            data += piece
    except OSError:
        pass
    return _config_version(data)


def _config_version(config: bytes) -> str:
    """The cniVersion of this configuration, ours where it has none."""
    try:
        version = _decode(config.strip())["cniVersion"]
        if isinstance(version, str) and version:
            return version
    except (ValueError, LookupError):
        pass
    return SUPPORTED[-1]


# -- streams and text -------------------------------------------------------------------------------------------------


def _read_config(ahead: str) -> bytes:
    try:
        if not ahead:
            return _read(0)
        return _read(posix.open(WRITTEN, posix.O_RDONLY | posix.O_CLOEXEC)).split(b"\0")[CONFIG]
    except OSError as error:
        raise Failure(IO_FAILURE, f"error reading from stdin: {error}", "") from None


def _read(file: int) -> bytes:
    """What is there, or more than can be sent of it."""
    data = b""
    while len(data) < MAX_BODY:
        piece = posix.read(file, 65536)
        if not piece:
            break
        data += piece
    return data


def _write(file: int, data: bytes) -> None:
    while data:
        data = data[posix.write(file, data) :]


def _print_error(code: int, message: str, details: str, config: bytes) -> None:
    version = _config_version(config)
    error = {
        "cniVersion": _quote(version if version in SUPPORTED else SUPPORTED[-1]),
        "code": str(code),
        "msg": _quote(message),
        "details": _quote(details),
    }
    _write(1, f"{_object(error)}\n".encode())


def _open_netns(path: str) -> "tuple[int, str]":
    """A descriptor, or -1 and why there is none. O_NONBLOCK: a FIFO in its place must not hold us."""
    if not path:
        return -1, ""
    flags = posix.O_RDONLY | posix.O_CLOEXEC | posix.O_NONBLOCK
    try:
        return posix.open(path.encode("utf-8", "surrogateescape"), flags), ""
    except OSError as error:
        return -1, error.strerror or str(error)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _decode(data: bytes) -> "dict[str, object]":
    """The JSON object at the start of these bytes, or ValueError."""
    import _json

    try:
        value, __ = _json.make_scanner(_Scan)(_text(data), 0)  # type: ignore[arg-type]
    except (StopIteration, SystemError, RecursionError) as error:  # SystemError: it misses json.decoder's exception
        raise ValueError("not JSON") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _object(members: "dict[str, str]") -> str:
    """JSON of an object whose values are JSON already."""
    return "{" + ",".join([f"{_quote(name)}:{value}" for name, value in members.items()]) + "}"


def _quote(text: str) -> str:
    if text.isascii() and text.isprintable():
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    import _json

    return _json.encode_basestring_ascii(text)


def _now() -> float:
    """CLOCK_BOOTTIME: the agent's clock, see docs/wire.md."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


if __name__ == "__main__":
    main()
