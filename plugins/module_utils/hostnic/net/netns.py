# SPDX-License-Identifier: GPL-3.0-or-later
"""Network namespaces: descriptors of them, and the thread that goes there and comes back.

A netlink socket belongs for ever to the namespace of the thread that made it. So a thread enters a namespace, makes the
socket and returns; the socket may then be used from anywhere. Calls' own threads go there themselves: to wake another
one and be woken takes as long as all else that a call does before the kernel's move. The process' first thread never
moves, since /proc/self tells where that one is; a resident thread goes for it.
"""

from __future__ import annotations

import contextvars
import ctypes
import errno
import fcntl
import logging
import os
import queue
import threading
import typing as t
from concurrent.futures import Future
from functools import partial

from ..errors import LinkFailed

log = logging.getLogger("hostnic.net")

T = t.TypeVar("T")

HOST: t.Final = "/proc/thread-self/ns/net"

# <linux/nsfs.h> NS_GET_NSTYPE; <linux/sched.h> CLONE_NEWNET
_NS_GET_NSTYPE: t.Final = 0xB703
_CLONE_NEWNET: t.Final = 0x40000000


def inode(descriptor: int) -> int:
    """The number that tells namespaces apart: two descriptors of one namespace have the same."""
    return os.fstat(descriptor).st_ino


def verify(descriptor: int) -> int:
    """Returns the namespace's inode; `LinkFailed` where the descriptor is not one of a network namespace."""
    try:
        kind = fcntl.ioctl(descriptor, _NS_GET_NSTYPE)
    except OSError as error:
        raise LinkFailed(
            f"descriptor {descriptor} is not a network namespace: {error.strerror}", errno=error.errno
        ) from error
    if kind != _CLONE_NEWNET:
        raise LinkFailed(f"descriptor {descriptor} is a namespace, but not a network namespace", errno=errno.EINVAL)
    return inode(descriptor)


def open_path(path: str) -> int:
    """A descriptor, the caller's to close. `LinkFailed` where the path is absent or only an empty file.

    The latter is what a namespace of another mount namespace looks like.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise LinkFailed(f"cannot open the network namespace {path}: {error.strerror}", errno=error.errno) from error
    try:
        verify(descriptor)
    except LinkFailed as error:
        os.close(descriptor)
        raise LinkFailed(
            f"{path} is no network namespace here: was it made in another mount namespace?", **error.details
        ) from error
    return descriptor


class Envoy:
    """Carries out short errands inside namespaces: make a socket, write a sysctl.

    `visit` is one resident thread's, for which everybody else waits: nothing that blocks. `go` is the caller's own.
    """

    def __init__(self) -> None:
        self._errands: queue.SimpleQueue[t.Optional[tuple[int, t.Callable[[], t.Any], Future[t.Any]]]]
        self._errands = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._thread: t.Optional[threading.Thread] = None
        self._closed = False
        self._home = os.open(HOST, os.O_RDONLY | os.O_CLOEXEC)

    def go(self, descriptor: int, errand: t.Callable[[], T]) -> T:
        """As `visit`, by the thread that calls. Starts no threads: they would stay there."""
        if threading.current_thread() is threading.main_thread():
            return self.visit(descriptor, errand)
        _enter(descriptor)
        try:
            return errand()
        finally:
            self._go_home()

    def _go_home(self) -> None:
        try:
            _setns(self._home)
        except OSError:
            # what this thread is in the middle of is in the journal; the next agent finishes or undoes it
            log.critical("cannot return from a network namespace: this process ends")
            os._exit(1)

    def visit(self, descriptor: int, errand: t.Callable[[], T]) -> T:
        """What `errand` returned or raised inside the namespace. `LinkFailed` where it could not be entered."""
        answer: Future[T] = Future()
        with self._starting:
            if self._closed:
                raise LinkFailed("the links have been closed")
            if self._thread is None:
                self._thread = threading.Thread(target=self._reside, name="netns-envoy", daemon=True)
                self._thread.start()
            # what is said on the errand is said of the caller's work
            self._errands.put((descriptor, partial(contextvars.copy_context().run, errand), answer))
        return answer.result()

    def close(self) -> None:
        """Ends the thread once its errands are done."""
        with self._starting:
            self._closed = True
            thread, self._thread = self._thread, None
            self._errands.put(None)
        if thread is not None:
            thread.join()
        if self._home >= 0:
            os.close(self._home)
            self._home = -1

    def _reside(self) -> None:
        while (job := self._errands.get()) is not None:
            descriptor, errand, answer = job
            self._run(descriptor, errand, answer)
            if not self._returned():
                return

    @staticmethod
    def _run(descriptor: int, errand: t.Callable[[], t.Any], answer: Future[t.Any]) -> None:
        try:
            _enter(descriptor)
            answer.set_result(errand())
        except BaseException as error:
            answer.set_exception(error)

    def _returned(self) -> bool:
        try:
            _setns(self._home)
        except OSError:
            # a thread that is stuck in a pod's namespace must never serve again: the next visit starts another
            log.exception("cannot return from a network namespace; another helper thread will take over")
            self._abdicate()
            return False
        return True

    def _abdicate(self) -> None:
        with self._starting:
            self._thread = None
            while not self._errands.empty():
                job = self._errands.get()
                if job is not None:
                    job[2].set_exception(LinkFailed("the helper thread was lost in a network namespace, try again"))


def once(path: str, errand: t.Callable[[], T]) -> T:
    """A single errand in the namespace at this path, as `Envoy.go`; `LinkFailed` where it could not be done."""
    descriptor = open_path(path)
    envoy = Envoy()
    try:
        return envoy.go(descriptor, errand)
    except OSError as error:
        raise LinkFailed(f"failed in the network namespace {path}: {error.strerror}", errno=error.errno) from error
    finally:
        envoy.close()
        os.close(descriptor)


def _enter(descriptor: int) -> None:
    try:
        _setns(descriptor)
    except OSError as error:
        raise LinkFailed(f"cannot enter the network namespace: {error.strerror}", errno=error.errno) from error


def _setns(descriptor: int) -> None:
    """Always with the type: under RestrictNamespaces=net, setns(fd, 0) is refused."""
    _SETNS(descriptor, _CLONE_NEWNET)


def unshare() -> None:
    """Leave for a namespace of one's own that nobody else is in. `OSError` where the kernel refuses."""
    _UNSHARE(_CLONE_NEWNET)


def _function(name: str) -> t.Callable[..., t.Any]:
    """That of `os`, which Python has from 3.12 on; libc's before, with its errors raised."""
    known: t.Optional[t.Callable[..., t.Any]] = getattr(os, name, None)
    if known is not None:
        return known
    # plain calls into libc need no writable and executable memory, so MemoryDenyWriteExecute= does not hurt
    function = getattr(ctypes.CDLL(None, use_errno=True), name)

    def call(*arguments: int) -> None:
        if function(*arguments) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))

    return call


_SETNS: t.Final = _function("setns")
_UNSHARE: t.Final = _function("unshare")
