# SPDX-License-Identifier: GPL-3.0-or-later
"""The running agent: builds the parts, starts the threads, tells systemd, stops in order."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
import time
import typing as t
from functools import partial
from pathlib import Path

from .. import guarded, wire
from ..cloud.build import burst_of, connect
from ..cloud.limiter import RateLimiter
from ..cni import netns
from ..cni.plugin import Plugin
from ..cni.verbs import Host, Verbs
from ..config import Settings
from ..engine import Engine
from ..errors import HostnicError
from ..net.guard import ManagerGuard
from ..net.links import PARKING, KernelLinks
from ..net.monitor import LinkMonitor
from ..probed import Probed
from ..store.sqlite import FILE, SqliteStore
from . import loops, manage, questions, systemd, tcp
from .ahead import Ahead
from .degradation import Degradation
from .logs import Output
from .metrics import Metrics
from .network import HostNetwork
from .reload import Reloader
from .server import LEAVING, Server
from .spool import Spool
from .unix import UnixDoor, listen_at

log = logging.getLogger("hostnic.agent")

# s that running requests get when the agent stops: what has a NIC is done by then, what waits for one is asked again
GRACE: t.Final = 2.0
# s for the agent's own threads: a call to the cloud is in the journal, for the next agent to finish
LEAVE: t.Final = 1.0
TICK: t.Final = 5.0  # s between signs of life where systemd asks for none
# s after which a thread that computes lets another one have its turn. Python's own 5 ms are a quarter of what an ADD
# takes, and a call asks for its turn a dozen times: the reconciler's sums would be in its way.
TURN: t.Final = 0.0005


def guard_early(statedir: str) -> None:
    """Tell the host's network managers of the journal's NICs, before they see them. Raises `StoreFailed`."""
    if not (Path(statedir) / FILE).exists():
        return
    store = SqliteStore(statedir)
    try:
        ManagerGuard().protect(nic.nic_id for nic in store.load().nics)
    finally:
        store.close()


def run(
    settings: Settings,
    origins: t.Mapping[str, str],
    instance_id: str,
    environ: t.MutableMapping[str, str],
    probed: Probed,
    read: t.Callable[[], tuple[Settings, t.Mapping[str, str]]],
    output: Output,
) -> None:
    """Serve until SIGTERM or SIGINT. With SIGHUP the configuration is `read` again.

    Ready means: the journal is loaded, the nftables table stands, the socket is answered. The cloud may be away.
    """
    stop = threading.Event()
    sys.setswitchinterval(TURN)
    signals = systemd.Signals(signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

    told = systemd.take(environ)
    boot_id = systemd.boot_id()
    links = KernelLinks(PARKING)
    metrics = Metrics()
    level = Degradation(settings)
    limiter = RateLimiter(settings.api_rate, burst_of(settings))
    cloud = connect(settings, origins=origins, limiter=limiter, observe=metrics.requested)
    engine = Engine(
        settings=settings,
        instance_id=instance_id,
        boot_id=boot_id,
        cloud=cloud,
        links=links,
        guard=ManagerGuard(),
        store=SqliteStore(settings.statedir),
        clock=wire.boottime,
        level=level,
        probed=probed,
        listener=metrics,
    )
    metrics.follow(engine, lambda: engine.pool.settings, instance_id)
    network = HostNetwork(settings, engine.table, engine.pool)
    network.apply()
    verbs = Verbs(engine.pool, links, wire.boottime, Host(settings.vxnet, settings.policy, settings.iface))
    plugin = Plugin(verbs, settings.bindaddr, wire.boottime, netns.reserved(PARKING), metrics)
    spool = Spool(Path(settings.statedir) / "spool", plugin.handle, boot_id)
    spool.drain()

    def apply(changed: Settings) -> None:
        output.set_level(changed.loglevel)
        limiter.set_rate(changed.api_rate, burst_of(changed))
        level.setting = changed.degradation
        engine.reload(changed)

    reloader = Reloader(settings, origins, read, apply, cloud.reread_access)

    def reload() -> dict[str, t.Any]:
        with systemd.reloading(told):
            return reloader.reload()

    closed: list[HostnicError] = []
    answers: questions.More = {
        "reload": lambda __: reload(),
        "settings": lambda __: reloader.shown(),
        "status": lambda __: questions.whole_status(engine, [*closed, *management.problems()]),
    }
    inherited = systemd.listen_fds(told, os.getpid())
    if not inherited:
        guarded.place(settings.rundir, "rundir")
    listener = inherited[0] if inherited else listen_at(str(Path(settings.rundir) / "qingagent.sock"))
    handlers = {wire.CNI: plugin.handle, **questions.handlers(engine, answers)}
    ahead = Ahead(settings.rundir, plugin.handle, netns.reserved(PARKING), verbs.poke, partial(time.sleep, LEAVING))
    unix = UnixDoor(listener, {**handlers, wire.CNI: ahead.handle})
    server = Server([unix, *tcp.doors(settings, handlers, closed.append)], verbs.poke)
    monitor = LinkMonitor(loops.follow_links(engine))
    threads = [
        threading.Thread(target=loops.reconcile, args=(engine, network.apply, stop), name="reconciler", daemon=True),
        threading.Thread(target=loops.clean_rested, args=(engine, stop), name="cleaner", daemon=True),
        threading.Thread(target=spool.watch, args=(stop,), name="spool", daemon=True),
        threading.Thread(target=loops.keep_network, args=(network.apply, stop), name="network", daemon=True),
    ]
    parts = {"server": server.alive, "ahead": ahead.alive, "links": monitor.alive}
    parts.update({one.name: one.is_alive for one in threads})

    def ended() -> list[str]:
        return [name for name, alive in parts.items() if not alive()]

    pages = manage.pages(
        metrics.text, metrics.content_type, ended, engine.pool.unable, questions.shown(engine, answers)
    )
    management = manage.Manage(settings.manageaddr, pages)
    monitor.start()
    for thread in threads:
        thread.start()
    management.start()  # before the server: the first answer knows whether manageaddr is taken
    server.start()
    ahead.start()
    # What is there now stays: garbage need not be a quarter of it, which takes hours and megabytes, before it is looked
    # for, and no call waits while the collector looks through all of it.
    gc.collect()
    gc.freeze()
    systemd.notify(told, "READY=1")
    log.info("serving pods of %s", instance_id)

    interval = systemd.watchdog_interval(told, os.getpid()) or TICK
    while (arrived := signals.wait(interval)) not in (signal.SIGTERM, signal.SIGINT):
        if arrived == signal.SIGHUP:
            _reload(reload)
        if not ended():
            systemd.notify(told, "WATCHDOG=1")

    stop.set()
    systemd.notify(told, "STOPPING=1")
    management.stop()
    ahead.close()
    server.stop(GRACE)
    ahead.stop()
    monitor.stop()
    engine.wake.set()
    engine.table.rested.set()
    engine.pool.poke()
    until = time.monotonic() + LEAVE
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    engine.close()


def _reload(reload: t.Callable[[], object]) -> None:
    """SIGHUP has nobody to answer."""
    try:
        reload()
    except HostnicError as error:
        log.error("nothing is reloaded: %s", error.message)
    except Exception:
        log.exception("a defect in reloading")
