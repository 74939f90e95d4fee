"""Celery's side of it: a task is a wake-up, the work is in `routing`, `deciding`, `dispatch` and `replay`."""

import gc
import logging
import sys
import time
from datetime import timedelta

from billiard import current_process
from celery import shared_task
from celery.signals import worker_process_init, worker_process_shutdown, worker_ready, worker_shutdown
from django.conf import settings
from django.utils import timezone

from deliveries import deciding, outbox, pull, replay_models, routing, undecided_models
from deliveries import replay as replaying
from deliveries.dispatch import Dispatcher
from deliveries.heartbeats import Heartbeat, Pacemaker
from deliveries.models import Replay
from deliveries.sending import TIMEOUT
from events import bundles
from events.compaction import compact
from events.wakeup import DISPATCH, ROUTE, wake
from subscriptions.evaluator import Evaluator
from tenants.scope import system_scope

ROUTE_SECONDS = 5.0  # a route task gives way after this long, so that others get their turn
REPLAY_SECONDS = 2.0  # so does a replay
DECIDE_SECONDS = 0.5  # and filters, which are nobody's haste
# Which all events, all deliveries and all wake-ups pass through; the last is there where PostgreSQL is the broker.
QUEUES = ("events_inbox", "deliveries_outbox", f"pgmq.q_{settings.CELERY_TASK_DEFAULT_QUEUE}")
STOP_SECONDS = TIMEOUT + 2  # what is under way may still be answered

logger = logging.getLogger(__name__)

_dispatcher = Dispatcher()
_evaluator = Evaluator()
_pacemakers: list[Pacemaker] = []


@shared_task(name=ROUTE)
def route() -> None:
    """Route what has arrived, and wake this process's dispatcher after each batch.

    Between two batches the events of one bundle are made: thousands of them do not hold up what is ready. After less
    than a batch nothing is left but what came meanwhile, and whoever kept that wakes us again.
    """
    until = time.monotonic() + ROUTE_SECONDS
    while True:
        routed = routing.route()
        unpacked = routed.bundles_wait and bundles.unpack()
        if routed.deliveries:
            _dispatcher.wake()
        if routed.undecided:
            undecided_models.wake()
        if routed.deliveries >= routing.BATCH:
            wake(DISPATCH)
        if routed.claimed < routing.BATCH and not unpacked:
            break
        if time.monotonic() > until:
            wake(ROUTE)
            break


@shared_task(name=DISPATCH)
def dispatch() -> None:
    _dispatcher.wake()


@shared_task(name=replay_models.REPLAY)
def replay() -> None:
    """Move replays on, batch by batch and one after another, until each of them waits or has ended."""
    until = time.monotonic() + REPLAY_SECONDS
    while (made := replaying.advance()) is not None:
        if made:
            _dispatcher.wake()
        if time.monotonic() > until:
            replay_models.wake()
            break


@shared_task(name=undecided_models.DECIDE)
def decide() -> None:
    """Ask filters, tenant by tenant, until none is left, or only what other workers are at.

    What goes wrong with one tenant's is tried again by the next sweep, and no other tenant waits for it.
    """
    until = time.monotonic() + DECIDE_SECONDS
    settled = True
    while settled:
        settled = False
        for tenant in deciding.tenants_waiting():
            try:
                decided = deciding.decide(tenant, _evaluator)
            except Exception as error:  # whatever it is, others are waiting for their turn
                logger.error("Filters of tenant %s could not be asked: %s", tenant, type(error).__name__)
                continue
            settled = settled or decided.settled > 0
            if decided.deliveries:
                _dispatcher.wake()
            if time.monotonic() > until:
                undecided_models.wake()
                return


@shared_task(name="deliveries.tasks.forget_replays")
def forget_replays() -> None:
    """Replays that ended are kept as long as the portal keeps anything."""
    oldest = timezone.now() - timedelta(days=settings.RETENTION_DAYS)
    with system_scope():
        Replay.objects.filter(ended_at__lt=oldest).delete()


@shared_task(name="deliveries.tasks.forget_polled")
def forget_polled() -> None:
    """What nobody has polled in time, or can any more."""
    with system_scope():
        pull.forget()


@shared_task(name="deliveries.tasks.sweep")
def sweep() -> None:
    """Every second: what no wake-up was heard for, and what has become due."""
    Heartbeat.objects.beat_now_and_then("sweep", Heartbeat.Kind.SWEEP)
    if replaying.is_due():
        replay_models.wake()  # a task of its own: the sweep does not wait for its batches
    if deciding.is_due():
        undecided_models.wake()  # nor for what filters take
    with system_scope():
        due = outbox.is_due()
    if due:
        _dispatcher.wake()  # first: it does not depend on what comes of the rest
    if routing.is_due() or bundles.is_due():
        route()
    for table in QUEUES:
        compact(table)


@worker_process_init.connect
def start_fresh(**kwargs) -> None:
    """A forked worker has no threads: it needs a dispatcher of its own. And nobody shares a process that asks.

    One process of a pool hears what the door says, and routes: of several the first would, and the others would come
    too late for more than a few events each.

    What is imported by now stays for good: the garbage collector need not look at it with every dozen of requests. And
    threads that use the models do not keep the event loop waiting for Python's 5 ms.
    """
    global _dispatcher, _evaluator
    is_first = getattr(current_process(), "index", 0) == 0
    _dispatcher, _evaluator = Dispatcher(route=route if is_first else None), Evaluator()
    sys.setswitchinterval(0.0005)
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    _dispatcher.wake()


@worker_process_shutdown.connect
def finish_what_is_under_way(**kwargs) -> None:
    _dispatcher.stop(STOP_SECONDS)
    _evaluator.close()


@worker_ready.connect
def look_at_once(**kwargs) -> None:
    """Work may have waited while no worker ran."""
    wake(ROUTE)
    wake(DISPATCH)


@worker_ready.connect
def begin_to_beat(sender, **kwargs) -> None:
    """In the main process: its pool's processes come and go."""
    pacemaker = Pacemaker(sender.pool.num_processes)
    pacemaker.start()
    _pacemakers.append(pacemaker)


@worker_shutdown.connect
def end_to_beat(**kwargs) -> None:
    while _pacemakers:
        _pacemakers.pop().stop()
