"""`make torture`: faults without end at a running portal under load. QUICK=1 takes fewer of each, in under a minute.

    python -m tests.torture [phase …]

Prints a table of the phases, and last one JSON object; `tests/torture/report.py` says what is counted how. Exits with 1
where an acknowledged event was lost, or anything else is in `problems`.
"""

import os
import random
import sys
import time

import psutil

from tests.torture.brokers import Pgmq, RabbitMQ, Redis
from tests.torture.faults import SHIFT, Torture, clock
from tests.torture.report import Report
from tests.torture.stage import Stage

PHASES = ("kill", "database", "broker", "stall", "stop", "redis", "rabbitmq", "poison", "clock")
RATE, QUICK_RATE = 50, 40  # posts a second


def main(wanted: list[str]) -> int:
    unknown = set(wanted) - set(PHASES)
    if unknown:
        sys.exit(f"There is no phase {', '.join(sorted(unknown))}. Choose among {', '.join(PHASES)}.")
    quick = os.environ.get("QUICK") == "1"
    seed = int(os.environ.get("SEED", time.time()))
    phases = set(wanted or PHASES)
    begun = time.monotonic()
    with Stage(QUICK_RATE if quick else RATE) as stage:
        beside = stage.begin_workers({}) if quick and "stall" in phases else []
        stage.set_up()
        print(f"The portal is up after {time.monotonic() - begun:.0f} s (SEED={seed}).", flush=True)
        torture = Torture(stage, quick=quick, chance=random.Random(seed))  # noqa: S311 (no secret)
        with torture.phase("nothing"):
            time.sleep(1 if quick else 10)
        try:
            if quick:
                run_quick(torture, phases, beside)
            else:
                run(torture, phases)
            torture.drain()
            if "poison" in phases:
                torture.watch_poison_alone(2 if quick else 30)
            report = Report(torture.phases, stage.acks(), stage.arrivals(), stage.arrived_in_line())
        finally:
            keep_log(stage)
            for broker in torture.brokers:
                broker.stop()
        missed = torture.missed + [f"{phase} (not asked for)" for phase in PHASES if phase not in phases]
    print(f"\n{report.as_table()}\n")
    print(f"  what the sender was answered: {stage.statuses} (0: nothing)")
    print(f"  the furthest that a signature's time was from its arrival: {report.stalest_signature:.0f} s")
    for what in missed:
        print(f"  MISSED: {what}")
    print(f"  {time.monotonic() - begun:.0f} s in all")
    print(report.as_json(missed))
    return 1 if report.problems() else 0


def run(torture: Torture, phases: set[str]) -> None:
    stage = torture.stage
    if "kill" in phases:
        torture.kill(200, pause=1.0)
    if "database" in phases:
        torture.restart_database(20, pause=2.0)
    if "broker" in phases:
        torture.lose_broker(Pgmq(stage), 10, pause=2.0)
    if "stall" in phases:
        with stage.more_workers({}) as [other]:
            for _ in range(3):
                torture.stall(other)
    if "poison" in phases:
        torture.poison(30)
    if "clock" in phases:
        torture.shift_clocks(20)
    if "stop" in phases:
        for _ in range(3):
            torture.stop_cleanly()
    for name, broker_class in (("redis", Redis), ("rabbitmq", RabbitMQ)):
        if name not in phases:
            continue
        if not broker_class.is_here():
            torture.missed.append(f"{broker_class.name} is not on this machine")
            continue
        broker = broker_class(stage.folder)
        torture.brokers.append(broker)
        torture.stop_cleanly(broker)
        torture.lose_broker(broker, 10, pause=2.0)
        torture.kill(6, pause=1.0)


def run_quick(torture: Torture, phases: set[str], beside: list[psutil.Popen]) -> None:
    """While one worker (`beside`) is stopped past its lease, everything else happens to the rest."""
    stage = torture.stage
    torture.missed += ["Redis (QUICK=1)", "RabbitMQ (QUICK=1)"]

    def meanwhile() -> None:
        wrong = stage.begin_workers(clock(SHIFT), clock(-SHIFT)) if "clock" in phases else []
        if "kill" in phases:
            torture.kill(4, pause=0.3)
        if "poison" in phases:
            torture.poison(0.5)
        if wrong:
            stage.see_them_work(wrong)
            torture.see_wrong_clocks(1)
            stage.end_workers(wrong)
        if "stop" in phases:
            torture.stop_each_cleanly()

    if "broker" in phases:
        torture.lose_broker(Pgmq(stage), 2, pause=0.5)
    if "stall" in phases:
        stage.see_them_work(beside)
        torture.stall(beside[0], meanwhile)
    else:
        meanwhile()
    if "database" in phases:
        torture.restart_database(1, pause=0.5)
    stage.end_workers(beside)


def keep_log(stage: Stage) -> None:
    """TORTURE_LOG names a file for what the portal said, for who wants to know why."""
    if name := os.environ.get("TORTURE_LOG"):
        with open(name, "w") as log:
            log.write(stage.portal.log())
            worker = stage.folder / "worker.log"
            log.write(worker.read_text(errors="replace") if worker.exists() else "")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
