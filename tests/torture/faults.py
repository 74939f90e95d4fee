"""The faults, each a phase of its own under load.

A fault's `in_flight` is read from outbox and ledger right after it: a dead worker's claims still stand then. Where
PostgreSQL itself is the victim, right before it and as soon as it answers again.
"""

import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Iterable, Iterator

import psutil
import psycopg

from tests.portal import wait_for
from tests.torture import poison
from tests.torture.brokers import Pgmq, RabbitMQ, Redis
from tests.torture.report import Fault, Phase
from tests.torture.stage import LEASE, ROLES, STOPS_WITHIN, Stage, children

PATIENCE = LEASE + 60  # seconds until everything acknowledged must have arrived
FLOWS_WITHIN = 10  # seconds until anything of it must have: who was stopped may have had the turn to route
SHORT_LIFE = 11  # seconds: the supervisor gives up when one leader dies five times in a row before it is 10 s old
MOST_SHORT_LIVES = 3
TRIES, QUICK_TRIES = 200, 60  # to stop a worker just when it routes
CLOCK = os.path.join(os.path.dirname(__file__), "shifted")
SHIFT = 600
HOT_LINES = 5  # of log a second, and
HOT_SHARE = 0.5  # of a processor: who needs more for a portal with nothing to do but poison, is in a loop
LINES_A_POST = 3  # of log, while an event is looked at beside the poison


class Torture:
    """Runs phases one after another and remembers them. `quick` has fewer of each fault and waits once, at the end."""

    def __init__(self, stage: Stage, *, quick: bool, chance: random.Random) -> None:
        self.stage = stage
        self.quick = quick
        self.chance = chance
        self.phases: list[Phase] = []
        self.missed: list[str] = []
        self.brokers: list[Redis | RabbitMQ] = []
        self.late = 0

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[Phase]:
        """In a full run the phase ends when everything acknowledged so far has arrived."""
        phase = Phase(name, time.time())
        self.phases.append(phase)
        print(f"  {time.strftime('%H:%M:%S')} {name}", flush=True)
        yield phase
        if not self.quick:
            self.settle(phase)

    def settle(self, phase: Phase) -> None:
        wanted = set(self.stage.acks())
        if left := self._left(wanted, PATIENCE):
            phase.problems.append(f"after {PATIENCE} s {len(left)} acknowledged events had not arrived")

    def _left(self, wanted: set[int], seconds: float) -> set[int]:
        deadline = time.monotonic() + seconds
        while True:
            left = wanted - (self.stage.arrived() & self.stage.arrived_in_line())
            if not left or time.monotonic() > deadline:
                return left
            time.sleep(0.5)

    def fault(
        self, phase: Phase, kind: str, at: float | None = None, *, claims: bool = True, before: Iterable[str] = ()
    ) -> None:
        """It happened, and met what was under way, with what was so `before`."""
        at = time.time() if at is None else at
        phase.faults.append(Fault(at, kind, frozenset(self._under_way()).union(before) if claims else frozenset()))

    def _under_way(self) -> set[str]:
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.stage.under_way()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # (a) Killed ---------------------------------------------------------------------------------------------

    def kill(self, times: int, pause: float) -> None:
        """SIGKILL of web, worker and beat: of a leader, which the supervisor replaces, or of one of its processes."""
        short_lives = dict.fromkeys(("web", "worker", "beat"), 0)
        with self.phase(f"SIGKILL of web, worker, beat × {times}") as phase:
            while len(phase.faults) < times:
                role = self.chance.choice(list(short_lives))
                victim = self._victim(role, short_lives)
                if victim is None:
                    time.sleep(0.1)
                    continue
                at = time.time()
                with contextlib.suppress(psutil.NoSuchProcess):
                    victim.kill()
                    time.sleep(0.15)  # the supervisor ends what its leader left
                    self.fault(phase, f"SIGKILL {role}", at)
                    time.sleep(self.chance.uniform(0.5, 1.5) * pause)

    def _victim(self, role: str, short_lives: dict[str, int]) -> psutil.Process | None:
        leader = self.stage.leader(role)
        if leader is None:
            return None
        try:
            is_young = time.time() - leader.create_time() < SHORT_LIFE
        except psutil.NoSuchProcess:
            return None
        others = children(leader.pid)
        if others and (self.chance.random() < 0.5 or (is_young and short_lives[role] >= MOST_SHORT_LIVES)):
            return self.chance.choice(others)
        if is_young and short_lives[role] >= MOST_SHORT_LIVES:
            return None
        short_lives[role] = short_lives[role] + 1 if is_young else 0
        return leader

    # (b) PostgreSQL -----------------------------------------------------------------------------------------

    def restart_database(self, times: int, pause: float) -> None:
        """SIGQUIT, as `pg_ctl -m immediate` sends it: no checkpoint, sessions cut off, recovery at the next start."""
        with self.phase(f"immediate PostgreSQL restarts × {times}") as phase:
            for _ in range(times):
                postmaster = int((self.stage.embedded.data / "postmaster.pid").read_text().splitlines()[0])
                before, at = self.stage.under_way(), time.time()
                os.kill(postmaster, signal.SIGQUIT)
                wait_for(lambda gone=postmaster: not is_running(gone), "PostgreSQL ends")
                wait_for(self.stage.embedded.is_running, "the supervisor starts PostgreSQL again", 60)
                self.fault(phase, "PostgreSQL restart", at, before=before)
                time.sleep(self.chance.uniform(0.5, 1.5) * pause)

    # (c) The broker -----------------------------------------------------------------------------------------

    def lose_broker(self, broker: Pgmq | Redis | RabbitMQ, times: int, pause: float) -> None:
        with self.phase(f"{broker.name} lost empty × {times}") as phase:
            for _ in range(times):
                at = time.time()
                broker.lose_everything()
                self.fault(phase, f"{broker.name} lost", at, claims=False)
                time.sleep(self.chance.uniform(0.5, 1.5) * pause)

    # (d) A stalled worker -----------------------------------------------------------------------------------

    def stall(self, worker: psutil.Popen, meanwhile: Callable[[], None] = lambda: None) -> None:
        """SIGSTOP of a worker in the middle of its requests, and with the turn to route, which all others wait for.
        SIGCONT when its leases have run out.

        The supervised worker routes, and sends again what was under way; what the stalled one writes then must change
        nothing. `meanwhile` is what else happens until then.
        """
        with self.phase(f"worker stopped past its lease ({LEASE} s)") as phase:
            before = self.stage.late_attempts()
            stalled = [worker, *worker.children()]
            has_turn = self._suspend_at_its_turn(stalled)
            at = time.time()
            self.fault(phase, "SIGSTOP past the lease", at)
            phase.notes.append(f"it {'had' if has_turn else 'did not have'} the turn to route")
            meanwhile()
            if not self._flows_since(at + self.chance.uniform(1, 2)):
                phase.problems.append("nothing was delivered while one worker of two was stopped")
            time.sleep(max(0.0, at + LEASE + 1 - time.time()))
            for process in stalled:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.resume()
            self._see_fenced(phase, before)

    def _suspend_at_its_turn(self, processes: list[psutil.Process]) -> bool:
        """Suspend them in a transaction of the router's, as a rule. Returns whether that was so."""
        for _ in range(QUICK_TRIES if self.quick else TRIES):
            for process in processes:
                process.suspend()
            time.sleep(0.05)  # another worker's turn is over by now
            if self.stage.somebody_stands_in_the_way():
                return True
            for process in processes:
                process.resume()
            time.sleep(self.chance.uniform(0.005, 0.03))
        for process in processes:
            process.suspend()
        return False

    def _see_fenced(self, phase: Phase, before: int) -> None:
        deadline = time.monotonic() + (2 if self.quick else 10)
        while (late := self.stage.late_attempts() - before) == 0 and time.monotonic() < deadline:
            time.sleep(0.5)
        self.late += late
        phase.notes.append(f"{late} late results were kept as attempts and changed nothing")

    # (e) A clean stop ---------------------------------------------------------------------------------------

    def stop_cleanly(self, broker: Redis | RabbitMQ | None = None) -> None:
        """SIGTERM of everything: what is under way is finished, nothing comes twice. Started again, as asked."""
        name = "SIGTERM of all" + (f", started on {broker.name}" if broker else "")
        with self.phase(name) as phase:
            at = time.time()
            status = self.stage.portal.stop()
            if status != 0:
                phase.problems.append(f"the portal ended with {status}")
            if left := self.stage.portal.processes():
                phase.problems.append(f"{len(left)} processes were left: {[process.name() for process in left]}")
            if broker is not None:
                self.stage.portal.settings["CELERY_BROKER_URL"] = broker.url
            self.stage.portal.start()
            self.fault(phase, "SIGTERM", at, claims=False)

    def stop_each_cleanly(self) -> None:
        """SIGTERM of web, worker and beat by themselves, each replaced by the supervisor.

        The worker has just lost its processes: one of them waited for tasks, and the others for their turn to.
        """
        with self.phase("SIGTERM of web, worker, beat") as phase:
            for role in ROLES:
                leader = wait_for(lambda of=role: self.stage.leader(of), f"there is a leader of {role}")
                at = time.time()
                if role == "worker":
                    self._kill_processes_of(leader)
                    self.fault(phase, "SIGKILL of a worker's processes", at)
                leader.terminate()
                try:
                    leader.wait(STOPS_WITHIN)
                except psutil.TimeoutExpired:
                    phase.problems.append(f"{role} had not ended {STOPS_WITHIN} s after SIGTERM")
                    leader.kill()
                self.fault(phase, f"SIGTERM {role}", at, claims=False)

    def _kill_processes_of(self, worker: psutil.Process) -> None:
        """All of them. Returns when it has others."""
        killed = children(worker.pid)
        for process in killed:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        wait_for(lambda: len(set(children(worker.pid)) - set(killed)) >= 2, "the worker has processes again", 60)

    # (f) Poison ---------------------------------------------------------------------------------------------

    def poison(self, seconds: float) -> None:
        wait_for(self.stage.portal.is_ready, "the portal takes what is half of the poison")
        with self.phase(f"poison × {len(poison.KINDS)}") as phase:
            lines, begun = self.stage.log_lines(), time.monotonic()
            for kind, put in poison.KINDS.items():
                at = time.time()
                put(self.stage)
                self.fault(phase, f"poison: {kind}", at, claims=False)
            time.sleep(seconds)
            phase.problems += poison.unseen_pages(self.stage)
            rate = (self.stage.log_lines() - lines) / (time.monotonic() - begun)
            phase.notes.append(f"{rate:.1f} lines of log a second")
            if rate > LINES_A_POST * self.stage.rate:
                phase.problems.append(f"{rate:.0f} lines of log a second: something goes round and round")

    def watch_poison_alone(self, seconds: float) -> None:
        """With everything else done: is what waits quiet, and has it been put off?"""
        phase = next(phase for phase in self.phases if phase.name.startswith("poison"))
        lines, work = self.stage.log_lines(), self.stage.seconds_of_work()
        time.sleep(seconds)
        share = (self.stage.seconds_of_work() - work) / seconds
        rate = (self.stage.log_lines() - lines) / seconds
        phase.notes.append(f"left alone with the poison: {rate:.1f} lines a second, {share:.0%} of a processor")
        if share > HOT_SHARE or rate > HOT_LINES:
            phase.problems.append("the portal does not rest though only poison is left")
        phase.notes += poison.what_became_of_it(self.stage)

    # (g) A wrong clock --------------------------------------------------------------------------------------

    def shift_clocks(self, seconds: float) -> None:
        """One more worker, whose clock is wrong, while the other stands still; one way, then the other."""
        for shift in (SHIFT, -SHIFT):
            with self.phase(f"a worker's clock {shift // 60:+} min") as phase, self.stage.more_workers(clock(shift)):
                leader = self.stage.leader("worker")
                stopped = [leader, *children(leader.pid)]
                before = self.stage.under_way()
                for process in stopped:
                    process.suspend()
                self.fault(phase, "SIGSTOP of the other", before=before)
                self._see_flow(phase, seconds)
                for process in stopped:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process.resume()

    def see_wrong_clocks(self, seconds: float) -> None:
        """Of workers that are there already, both wrong ways beside each other, and beside all others."""
        with self.phase("workers' clocks ± 10 min") as phase:
            self._see_flow(phase, seconds)

    def _see_flow(self, phase: Phase, seconds: float) -> None:
        at = time.time()
        self.fault(phase, "clock", at, claims=False)
        time.sleep(seconds)
        if not self._flows_since(at + seconds / 2):
            phase.problems.append("nothing was delivered that was acknowledged meanwhile")

    def _flows_since(self, at: float) -> bool:
        deadline = time.monotonic() + FLOWS_WITHIN
        while True:
            arrived = self.stage.arrived()
            if any(acked >= at and number in arrived for number, acked in self.stage.acks().items()):
                return True
            if time.monotonic() > deadline:
                return False
            time.sleep(0.5)

    # The end ------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """The load ends; whatever can still arrive has time to."""
        phase = self.phases[-1]
        self.stage.stop_sending()
        self._left(set(self.stage.acks()), PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while (left := self.stage.unfinished()) and time.monotonic() < deadline:
            time.sleep(0.5)
        if left:
            phase.problems.append(f"rows are stuck that nothing holds up: {left}")


def clock(shift: int) -> dict[str, str]:
    """The environment of a process whose clock is so many seconds wrong."""
    return {"PYTHONPATH": CLOCK, "TORTURE_CLOCK_SHIFT": str(shift)}


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
