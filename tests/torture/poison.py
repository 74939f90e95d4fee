"""Rows that no code of the portal writes, one of each kind that a worker or the door reads.

A broken disk, a lost key, a wrong migration or a hand in the database could leave them. What is asked: the others still
flow, no page fails, and the poisoned row is ended visibly, or waits and is looked at more and more seldom.
"""

import os
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

from psycopg import sql
from psycopg.types.json import Jsonb

from tests.portal import call
from tests.torture.stage import Stage

GARBAGE = b"\x01this opens with no key"
PAGES = ("subscriptions/", "sources/", "events/", "receipts/", "deliveries/", "deliveries/stats/", "replays/")


def uuid7() -> uuid.UUID:
    return uuid.UUID(int=(time.time_ns() // 1_000_000) << 80 | 7 << 76 | 2 << 62 | int.from_bytes(os.urandom(7), "big"))


def copy(stage: Stage, table: str, where: str, **changes: Any) -> uuid.UUID:
    """One more row like the newest that `where` names, with a new id and these changes."""
    identifier = changes.setdefault("id", uuid7())
    text = {name: str(value) if isinstance(value, uuid.UUID) else value for name, value in changes.items()}
    statement = sql.SQL(
        "INSERT INTO {table} SELECT (jsonb_populate_record(one, %s)).* FROM {table} AS one WHERE {where}"
        " ORDER BY id DESC LIMIT 1"
    ).format(table=sql.Identifier(table), where=sql.SQL(where))
    stage.query(statement, [Jsonb(text)])
    return identifier


def insert(stage: Stage, table: str, /, **values: Any) -> None:
    names = sql.SQL(", ").join(map(sql.Identifier, values))
    stage.query(
        sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
            sql.Identifier(table), names, sql.SQL(", ").join(sql.Placeholder() * len(values))
        ),
        list(values.values()),
    )


def event(stage: Stage, **changes: Any) -> uuid.UUID:
    """An event that is still to be routed."""
    identifier = copy(stage, "events_event", "type = 'order.created'", **changes)
    insert(stage, "events_inbox", event_id=identifier, tenant_id=stage.tenant.id)
    return identifier


def due(stage: Stage, delivery: uuid.UUID, subscription: str | uuid.UUID) -> None:
    stage.query(
        "INSERT INTO deliveries_outbox (delivery_id, tenant_id, subscription_id, due_at, attempt)"
        " VALUES (%s, %s, %s, clock_timestamp(), 0)",
        [delivery, stage.tenant.id, subscription],
    )


def broken_subscription(name: str, **changes: Any) -> Callable[[Stage], None]:
    """A subscription that agreed, and broke since; and an event of a type of its own that it asked for."""

    def put(stage: Stage) -> None:
        made = stage.subscribe(f"Poison: {name}", [f"poison.{name}"])
        stage.query(
            "UPDATE subscriptions_subscription SET state = 'idle', confirmed_at = now() WHERE id = %s", [made["id"]]
        )
        assignments = sql.SQL(", ").join(
            sql.SQL("{} = {}").format(sql.Identifier(column), sql.Placeholder()) for column in changes
        )
        stage.query(
            sql.SQL("UPDATE subscriptions_subscription SET {} WHERE id = {}").format(assignments, sql.Placeholder()),
            [*changes.values(), made["id"]],
        )
        stage.tenant.post("events/", type=f"poison.{name}", payload={"poison": name})

    return put


def broken_secret(stage: Stage) -> None:
    made = stage.subscribe("Poison: secret", ["poison.secret"])
    stage.query(
        "UPDATE subscriptions_subscription SET state = 'idle', confirmed_at = now() WHERE id = %s", [made["id"]]
    )
    stage.query("UPDATE subscriptions_signingsecret SET value = %s WHERE subscription_id = %s", [GARBAGE, made["id"]])
    stage.tenant.post("events/", type="poison.secret", payload={})


def unreadable_event(stage: Stage) -> None:
    """It says that its bytes are JSON, and they are none; an envelope is to be put around it."""
    made = stage.subscribe("Poison: payload", ["poison.payload"])
    stage.query(
        "UPDATE subscriptions_subscription SET state = 'idle', confirmed_at = now(), shape = 'envelope' WHERE id = %s",
        [made["id"]],
    )
    event(stage, type="poison.payload", body="\\xff00fe", content_type="application/json", data=None, body_is_data=True)


def unknown_kind_of_delivery(stage: Stage) -> None:
    due(stage, delivery(stage, kind="telegram", status="pending"), stage.subscription["id"])


def unknown_shape_of_delivery(stage: Stage) -> None:
    changes = {"shape": "sphere", "signing": "sealing wax", "status": "pending", "message_id": "poison"}
    due(stage, delivery(stage, **changes), stage.subscription["id"])


def delivery(stage: Stage, **changes: Any) -> uuid.UUID:
    """To the ledger."""
    where = f"kind = 'event' AND subscription_id = '{stage.subscription['id']}'"
    return copy(stage, "deliveries_delivery", where, **changes)


def broken_challenge(stage: Stage) -> None:
    """It is owed an answer, and nobody can tell to what."""
    made = stage.subscribe("Poison: challenge", ["poison.challenge"])
    notice = uuid7()
    insert(
        stage, "subscriptions_notice", id=notice, tenant_id=stage.tenant.id, kind="challenge", payload=GARBAGE,
        subscription_id=made["id"], event_type="poison.challenge", created_at="now",
    )  # fmt: skip
    stage.query(
        "UPDATE subscriptions_subscription SET verification = 'challenge', challenge_notice = %s WHERE id = %s",
        [notice, made["id"]],
    )


def lane_of_nobody(stage: Stage) -> None:
    insert(
        stage, "deliveries_lane", subscription_id=uuid7(), tenant_id=stage.tenant.id, due_at="now", added=1, events=500,
        wait=5,
    )  # fmt: skip


def broken_division(stage: Stage) -> None:
    """A post of very many events, whose rows are made later, by a worker that cannot read how."""
    receipt = copy(stage, "events_receipt", "status = 'accepted'", event_count=1000)
    insert(stage, "events_bundle", receipt_id=receipt, tenant_id=stage.tenant.id, division="[[", attempts=0)


def division_of_no_body(stage: Stage) -> None:
    receipt = copy(stage, "events_receipt", "status = 'accepted'", event_count=1000, body="\\x00", body_packed=True)
    insert(stage, "events_bundle", receipt_id=receipt, tenant_id=stage.tenant.id, division="{}", attempts=0)


def broken_notice(stage: Stage) -> None:
    for kind in ("confirmation", "test", "riddle"):
        insert(
            stage, "subscriptions_notice", id=uuid7(), tenant_id=stage.tenant.id, kind=kind, payload=GARBAGE,
            subscription_id=stage.subscription["id"], event_type="poison.notice", created_at="now",
        )  # fmt: skip


def broken_replay(stage: Stage) -> None:
    insert(
        stage, "deliveries_replay", id=uuid7(), tenant_id=stage.tenant.id, subscription_id=stage.subscription["id"],
        kind="backward", selection=Jsonb([1]), before=uuid7(), asked_by="poison", total=1, total_is_exact=True, done=0,
        stage=0, waiting=[], state="running", reason="", failures=0, created_at="now",
    )  # fmt: skip


def broken_source(stage: Stage) -> None:
    """Its secret opens with no key: its senders are asked to come again, and nobody else is."""
    source = stage.tenant.post("sources/", name="Poison: secret", auth={"method": "hmac"})
    stage.query("UPDATE sources_sourcecredential SET value = %s WHERE source_id = %s", [GARBAGE, source["id"]])
    call("POST", source["url"], b"{}", {source["auth"]["header"]: f"sha256={'0' * 64}"})


KINDS: Mapping[str, Callable[[Stage], None]] = {
    "a payload that is not what it says": unreadable_event,
    "a URL that does not open": broken_subscription("url", url=GARBAGE),
    "headers that do not open": broken_subscription("headers", headers=GARBAGE),
    "a secret that does not open": broken_secret,
    "an unknown scheme": broken_subscription("scheme", signing="sealing wax"),
    "options of the scheme that are none": broken_subscription("options", signing_options=Jsonb([1])),
    "an unknown policy": broken_subscription("policy", policy="hope"),
    "an unknown shape": broken_subscription("shape", shape="sphere"),
    "an unknown severity": broken_subscription("severity", min_severity="grim"),
    "an event type that is null": broken_subscription("null", event_types=[None]),
    "an event type that is empty": broken_subscription("empty", event_types=[""]),
    "an unknown mode": broken_subscription("mode", mode="braided"),
    "rules that are null": broken_subscription("rules", rules=Jsonb(None)),
    "rules that are none": broken_subscription("list", rules=Jsonb(["5xx"])),
    "waits that are none": broken_subscription("waits", policy="custom", delays=None),
    "a filter that is none": broken_subscription("filter", filter="1 +"),
    "an unknown way to prove who sends": broken_subscription("auth", auth_method="handshake"),
    "an unknown state": broken_subscription("state", state="dozing"),
    "an unknown kind of delivery": unknown_kind_of_delivery,
    "a delivery of unknown shape and scheme": unknown_shape_of_delivery,
    "an outbox row of no delivery": lambda stage: due(stage, uuid7(), stage.subscription["id"]),
    "an inbox row of no event": lambda stage: insert(
        stage, "events_inbox", event_id=uuid7(), tenant_id=stage.tenant.id
    ),
    "a bundle whose division is broken": broken_division,
    "a bundle whose body is broken": division_of_no_body,
    "notices that do not open": broken_notice,
    "a challenge that does not open": broken_challenge,
    "a lane of no subscription": lane_of_nobody,
    "a replay of an unknown kind": broken_replay,
    "a source whose secret does not open": broken_source,
}


def unseen_pages(stage: Stage) -> list[str]:
    """What a person would look at, and cannot."""
    headers = {"Authorization": f"Bearer {stage.tenant.api_key}"}
    failed = []
    for page in PAGES:
        status = call("GET", f"{stage.portal.url}/api/v1/{page}?limit=200", headers=headers).status
        if status >= 500:
            failed.append(f"GET {page} answers {status}")
    return failed


def what_became_of_it(stage: Stage) -> list[str]:
    """How the poisoned deliveries ended, and what still waits with how many attempts."""
    statement = (
        "SELECT subscription.name, delivery.status, coalesce(outbox.attempt, delivery.attempt_count), delivery.reason"
        " FROM deliveries_delivery AS delivery"
        " JOIN subscriptions_subscription AS subscription ON subscription.id = delivery.subscription_id"
        " LEFT JOIN deliveries_outbox AS outbox ON outbox.delivery_id = delivery.id"
        " WHERE delivery.kind <> 'confirmation' AND (subscription.name LIKE 'Poison%%' OR delivery.kind = 'telegram'"
        " OR delivery.shape = 'sphere' OR delivery.event_type LIKE 'poison%%') ORDER BY delivery.id"
    )
    deliveries = [
        f"{name}: {status} after {attempts} attempts. {reason}"
        for name, status, attempts, reason in stage.query(statement, {})
        if (name, status) != ("Ledger", "delivered")
    ]
    bundles = [
        f"a bundle waits after {count} attempts" for [count] in stage.query("SELECT attempts FROM events_bundle")
    ]
    replays = stage.query("SELECT state, failures FROM deliveries_replay")
    return [*deliveries, *bundles, *(f"a replay is {state} after {count} failures" for state, count in replays)]
