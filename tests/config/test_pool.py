"""The pool of a worker: its processes may die suddenly, as by the kernel when memory is short."""

import subprocess
import sys

from celery.concurrency import get_implementation

from config.celery import app
from config.pool import Pool, TaskPool
from tests.portal import ROOT, clean_environment

# Both are idle: one waits for a task, the other for its turn to. Whichever is killed first, both have been.
DYING = """
import os
import signal
import time

from config.pool import Pool

pool = Pool(processes=2, synack=False)
for process in list(pool._pool):
    print(pool.apply_async(os.getpid).get(timeout=10) > 0, flush=True)
    time.sleep(0.3)
    os.kill(process.pid, signal.SIGKILL)
    process.join()
print(pool.apply_async(os.getpid).get(timeout=10) > 0, flush=True)
pool.close()
pool.join()
print("ended", flush=True)
"""


def test_the_others_go_on_when_a_process_of_the_pool_is_killed():
    done = subprocess.run(
        [sys.executable, "-c", DYING], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["True", "True", "True", "ended"], done.stderr


def test_the_workers_have_that_pool():
    chosen = get_implementation(app.conf.worker_pool)
    assert chosen is TaskPool
    assert chosen.BlockingPool is Pool
