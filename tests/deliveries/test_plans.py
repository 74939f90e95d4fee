"""What a dispatcher asks for is looked up by its key, whatever PostgreSQL believes about the queues.

A plan is made once. Made while a queue is empty it may walk over the whole of it instead: that costs nothing, until
there is a burst.
"""

from collections.abc import Iterator
from contextlib import closing

import psycopg
import pytest
from django.db import connection

from deliveries import breaker, lanes, lines, outbox, pull_queue, results, routing, sending
from tenants.scope import system_scope

pytestmark = pytest.mark.django_db(transaction=True)

QUEUES = ("deliveries_outbox", "deliveries_lane", "subscriptions_failing")
STATEMENTS = {
    f"{module.__name__.rpartition('.')[2]}.{name}": text
    for module in (breaker, lanes, outbox, results, sending)
    for name, text in vars(module).items()
    if isinstance(text, str) and any(queue in text for queue in QUEUES) and "$1" in text
}


@pytest.fixture(params=[lines._BY_INDEX, lines._BY_INDEX_HERE], ids=["a line", "Django's connection"])
def line(request):
    """A connection that is set up as a dispatcher's, or a transaction as `lines.run` has it."""
    given = connection.get_connection_params()
    wanted = {key: given[key] for key in ("dbname", "user", "password", "host", "port") if key in given}
    with closing(psycopg.connect(**wanted, autocommit=True)) as made:
        made.execute("SELECT set_config('app.tenant', '*', false)")
        made.execute(request.param.replace("SET LOCAL", "SET"))
        yield made


def untouched(line):
    pass


def full(line):
    """As after a busy day: the statistics of it are there."""
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)
            SELECT gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), now(), 0 FROM generate_series(1, 5000)
            """
        )
    line.execute(f"ANALYZE {', '.join(QUEUES)}")


def drained(line):
    full(line)
    line.execute("DELETE FROM deliveries_outbox")
    line.execute(f"ANALYZE {', '.join(QUEUES)}")


def vacuumed(line):
    """An hour later."""
    drained(line)
    line.execute(f"VACUUM (ANALYZE) {', '.join(QUEUES)}")


def cut_off(line):
    vacuumed(line)
    line.execute("TRUNCATE deliveries_outbox")


def walked_over(node: dict, is_joined: bool = False) -> Iterator[str]:
    """Scans of queues that are one side of a join and do not enter an index by a key."""
    is_of_queue = node.get("Relation Name") in QUEUES and "Scan" in node["Node Type"]
    if is_of_queue and is_joined and not {"Index Cond", "Recheck Cond"} & node.keys():
        yield f"{node['Node Type']} of {node['Relation Name']}"
    for child in node.get("Plans", []):
        is_apart = child["Parent Relationship"] in ("InitPlan", "SubPlan")
        yield from walked_over(child, "Join Type" in node or (is_joined and not is_apart))


def test_all_statements_are_looked_at():
    of_outbox = {"outbox._CLAIM", "outbox._CLAIM_NEAR", "outbox._CLAIM_ROUND", "results._RECORD", "sending._CANCEL"}
    of_breaker = {"breaker._PARK", "breaker._CLEAR"}
    of_lanes = {"lanes._CLAIM", "lanes._HEADS", "lanes._LEAVE", "lanes._FOLLOW"}
    assert of_outbox | of_breaker | of_lanes <= set(STATEMENTS)


@pytest.mark.parametrize("state", [untouched, full, drained, vacuumed, cut_off])
def test_no_queue_is_walked_over(line, state):
    state(line)
    found = {}
    for number, (name, text) in enumerate(STATEMENTS.items()):
        line.execute(f"PREPARE of_{number} AS {text}".encode())
        count = line.execute(
            "SELECT cardinality(parameter_types) FROM pg_prepared_statements WHERE name = %s", [f"of_{number}"]
        ).fetchone()[0]
        nothing = ", ".join(["NULL"] * count)
        plan = line.execute(f"EXPLAIN (FORMAT JSON) EXECUTE of_{number} ({nothing})").fetchone()[0][0]["Plan"]
        if walked := list(walked_over(plan)):
            found[name] = walked
    assert not found


# ── What is locked up to a limit ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("queue", "fields"), [(outbox, {}), (pull_queue, {"url": "", "delivery": "pull"})])
def test_no_more_are_taken_out_than_asked_for(subscribe, happen, nested_loops, queue, fields):
    subscription, _ = subscribe(**fields)
    for _ in range(5):
        happen()
    routing.route()
    with system_scope():
        assert [len(queue.take_out(subscription.pk, 2)) for _ in range(4)] == [2, 2, 1, 0]


def test_no_more_are_routed_than_asked_for(happen, nested_loops):
    for _ in range(5):
        happen()
    assert [routing.route(2).claimed for _ in range(4)] == [2, 2, 1, 0]
