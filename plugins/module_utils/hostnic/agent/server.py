# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent's sockets: reads requests, hands them to workers, notices who hangs up. The protocol is docs/wire.md."""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
import time
import typing as t
from functools import partial

from .. import afterwards, wire
from ..cni.plugin import defect, refusal
from ..errors import Busy, HostnicError
from .connection import Connection, HungUpEarly, room_for_connections
from .door import Door, Unwelcome
from .lanes import LANES, Lane, lane_of

log = logging.getLogger("hostnic.server")

_READ_TIMEOUT: t.Final = 5.0  # seconds for a request to arrive in full
_PAUSE: t.Final = 1.0  # seconds without accepting after the kernel refused a new connection
# seconds that a caller needs to end with its answer: what is done meanwhile, it shares the processors with
LEAVING: t.Final = 0.003
_UNDO_TIME: t.Final = 5.0  # seconds for cancelled requests to undo what they began, when the agent stops


class Server:
    """Serves whom its doors let in, with what each door's handlers do.

    `poke` is called when somebody hung up: have whoever waits look at its `cancelled`. `leave` lets a caller end that
    has its answer, before what could wait is done. Callers keep both directions of their connection open until they
    have the answer.
    """

    def __init__(
        self,
        doors: t.Sequence[Door],
        poke: t.Callable[[], None],
        *,
        lanes: t.Mapping[str, int] = LANES,
        read_timeout: float = _READ_TIMEOUT,
        max_connections: t.Optional[int] = None,
        leave: t.Callable[[], None] = partial(time.sleep, LEAVING),
    ) -> None:
        self._doors = doors
        self._poke = poke
        self._read_timeout = read_timeout
        self._leave = leave
        self._max_connections = max_connections or room_for_connections()
        # no lane may fill every place: a DEL must get in, however many ADDs wait
        self._lanes = {name: Lane(name, size, self._max_connections // 2) for name, size in lanes.items()}
        self._selector = selectors.DefaultSelector()
        self._wake_in, self._wake_out = socket.socketpair()
        self._thread = threading.Thread(target=self._loop, name="server", daemon=True)
        # the thread's own
        self._connections: set[Connection] = set()
        self._open: set[int] = set()  # the doors that are watched, by their place in `doors`
        self._paused_until = 0.0
        # shared, under the lock
        self._changed = threading.Condition()
        self._running: set[Connection] = set()
        self._done: list[Connection] = []
        self._stopping = False
        self._closing = False

    def start(self) -> None:
        """Serve, in a thread of its own."""
        for door in self._doors:
            door.listener.setblocking(False)
        self._wake_out.setblocking(False)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._woken)
        self._thread.start()

    def alive(self) -> bool:
        """Whether requests are served; false before `start`, after `stop` and after a defect."""
        return self._thread.is_alive()

    def stop(self, grace: float) -> None:
        """Accept nothing more, let what runs finish for `grace` seconds, cancel the rest, close.

        The listening sockets stay open for whoever owns them; callers without an answer ask the next agent.
        """
        with self._changed:
            self._stopping = True
        for lane in self._lanes.values():
            lane.close()
        self._wake()
        if not self._wait_until_idle(grace):
            with self._changed:
                late = list(self._running)
            for connection in late:
                connection.cancel()
            self._poke()
            if not self._wait_until_idle(_UNDO_TIME):
                log.warning("%d requests did not end in time", len(late))
        with self._changed:
            self._closing = True
        self._wake()
        self._thread.join()

    def _wait_until_idle(self, timeout: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, timeout)

    # -- the server's thread ------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        try:
            while not self._closing:
                self._listen()
                for ready, __ in self._selector.select(self._timeout()):
                    ready.data()
                self._drop_slow()
        except Exception:
            log.exception("a defect in the server: it stops")
        finally:
            with self._changed:
                self._stopping = True
                stuck = set(self._running)
            for connection in self._connections - stuck:  # what a worker still uses goes with the process
                self._close(connection)
            self._selector.close()
            self._wake_in.close()
            self._wake_out.close()

    def _timeout(self) -> t.Optional[float]:
        moments = [connection.read_by for connection in self._connections if connection.request is None]
        if self._paused_until:
            moments.append(self._paused_until)
        return max(0.0, min(moments) - time.monotonic()) if moments else None

    def _listen(self) -> None:
        """Watch each listening socket exactly while there is room."""
        if self._paused_until and time.monotonic() >= self._paused_until:
            self._paused_until = 0.0
        room = not self._stopping and not self._paused_until and len(self._connections) < self._max_connections
        for place, door in enumerate(self._doors):
            wanted = room and not (door.room and self._inside(door) >= door.room)
            if wanted and place not in self._open:
                self._selector.register(door.listener, selectors.EVENT_READ, partial(self._accept, door))
                self._open.add(place)
            elif place in self._open and not wanted:
                self._selector.unregister(door.listener)
                self._open.remove(place)

    def _inside(self, door: Door) -> int:
        return sum(connection.door is door for connection in self._connections)

    def _accept(self, door: Door) -> None:
        try:
            sock, __ = door.listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            log.error("cannot accept connections for %g s: %s", _PAUSE, error)
            self._paused_until = time.monotonic() + _PAUSE
            return
        try:
            peer = door.greet(sock)
            connection = Connection(sock, door, peer, time.monotonic() + self._read_timeout)
        except Unwelcome as error:
            _refused(error)
            sock.close()
            return
        except OSError as error:  # gone already
            log.info("a caller vanished: %s", error)
            sock.close()
            return
        self._connections.add(connection)
        self._selector.register(sock, selectors.EVENT_READ, partial(self._readable, connection))
        self._readable(connection)  # by now the request is there, nearly always

    def _readable(self, connection: Connection) -> None:
        if connection not in self._connections:
            return  # closed by an event that was found together with this one
        if connection.request is not None:
            self._hung_up(connection)
            return
        try:
            request = connection.read()
        except HungUpEarly:
            self._close(connection)
        except Unwelcome as error:
            _refused(error)
            self._close(connection)
        except wire.ProtocolMismatch as error:
            log.info("%s: %s", connection.peer.words, error)  # one of the next release asks again, in this protocol
            connection.send(refusal(error.details["request_id"], error))
            self._close(connection)
        except wire.WireError as error:
            log.warning("%s sent no request: %s", connection.peer.words, error)
            self._close(connection)
        except Exception:  # one caller's bytes must never end the server
            log.exception("a defect in reading a request")
            self._close(connection)
        else:
            if request is not None:
                self._dispatch(connection, request)

    def _hung_up(self, connection: Connection) -> None:
        """Nothing may follow a request: whatever makes its socket readable is the caller's end."""
        self._selector.unregister(connection.sock)
        if not connection.answered:
            connection.cancel()
            self._poke()

    def _dispatch(self, connection: Connection, request: wire.Request) -> None:
        if self._lanes[lane_of(request)].put(partial(self._serve, connection, request)):
            return
        if not self._stopping:
            connection.send(refusal(request.request_id, Busy("too many requests wait already: try again")))
        self._close(connection)

    def _drop_slow(self) -> None:
        now = time.monotonic()
        for connection in [item for item in self._connections if item.request is None and item.read_by <= now]:
            log.warning("%s did not send its request in %g s", connection.peer.words, self._read_timeout)
            self._close(connection)
        if self._stopping:
            with self._changed:
                idle = self._connections - self._running
            for connection in idle:
                self._close(connection)

    def _woken(self) -> None:
        self._wake_out.recv(4096)
        with self._changed:
            done, self._done = self._done, []
        for connection in done:
            self._close(connection)

    def _close(self, connection: Connection) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        with contextlib.suppress(KeyError):  # it hung up before
            self._selector.unregister(connection.sock)
        connection.close()

    # -- workers' threads ---------------------------------------------------------------------------------------------

    def _serve(self, connection: Connection, request: wire.Request) -> None:
        with self._changed:
            if self._stopping:
                return  # the server's thread closes it
            self._running.add(connection)
        try:
            with afterwards.gathered():
                answer = self._answer(connection, request)
                # what failed because the agent stops, the next agent will do; what is done is told in any case
                if answer.exit == 0 or not connection.cancelled():
                    connection.send(answer)
                    self._leave()
        finally:
            with self._changed:
                self._running.discard(connection)
                self._done.append(connection)
                self._changed.notify_all()
            self._wake()

    def _answer(self, connection: Connection, request: wire.Request) -> wire.Answer:
        try:
            handlers = connection.door.handlers
            handler = handlers.get(request.op)
            if handler is None:
                known = ", ".join(sorted(handlers))
                raise wire.WireError(f"this agent does not know {ascii(request.op)}, but {known}")
            return handler(request, connection.netns, connection.cancelled)
        except HostnicError as error:
            return refusal(request.request_id, error)
        except Exception as error:
            log.exception("a defect in %s", ascii(request.op))
            return refusal(request.request_id, defect(error))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is awake, or gone
            self._wake_in.send(b"!", socket.MSG_DONTWAIT)


def _refused(error: Unwelcome) -> None:
    log.log(logging.WARNING if error.loud else logging.DEBUG, "%s", error)
