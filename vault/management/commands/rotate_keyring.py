"""`manage.py rotate_keyring`: a new key, and everything sealed sealed anew with it, while the portal runs.

1. The new key goes into the file; every process seals with it from its next value on (`vault.keyring` looks at
   the file each time). Old keys stay, so everything goes on opening.
2. Batch by batch, each value of an older key is opened, sealed with the active one, and written by
   `UPDATE … WHERE value = <the old bytes>`: what somebody else wrote meanwhile is never overwritten, and needs
   nothing, being sealed with the active key already.
3. `--prune` forgets keys that seal nothing. A transaction that began before the new key came may still write a
   value of the old one, so first those are waited for and 2 is done again.

Killed at any moment it has done no harm: run it again, with `--resume` if no further key is wanted.
"""

import time
from collections import Counter
from dataclasses import dataclass, field

from django.apps import apps
from django.core.management.base import BaseCommand, CommandError
from django.db import OperationalError, connection

from tenants.scope import system_scope
from vault.fields import Sealed, keyring, sealed_fields
from vault.keyring import Keyring, KeyringError, header

BATCH = 200
DEADLOCK = "40P01"
DEADLOCK_TRIES = 5


@dataclass
class Tally:
    resealed: int = 0
    overtaken: int = 0  # written by somebody else at that moment
    unopened: list[str] = field(default_factory=list)


class Command(BaseCommand):
    help = "Add a key to the encryption keyring and seal every secret anew with it. Safe while the portal runs."

    def add_arguments(self, parser):
        parser.add_argument("--resume", action="store_true", help="Add no key; finish what an earlier run began.")
        parser.add_argument("--prune", action="store_true", help="Then forget keys that seal nothing any more.")
        parser.add_argument(
            "--wait", type=int, default=300, metavar="SECONDS", help="How long --prune waits for old transactions."
        )

    def handle(self, *args, resume: bool, prune: bool, wait: int, **options):
        try:
            ring = keyring()
            changed_at = _database_clock()
            if not resume:
                self.stdout.write(f"New key {ring.add_key()}.")
                changed_at = _database_clock()
            tally = self._reseal_all(ring)
            if prune:
                _wait_for_transactions_before(changed_at, wait)
                tally = self._reseal_all(ring)
                self._prune(ring)
        except KeyringError as error:
            raise CommandError(str(error)) from None
        if tally.unopened:
            raise CommandError("These do not open and were left alone: " + ", ".join(tally.unopened))

    def _reseal_all(self, ring: Keyring) -> Tally:
        total = Tally()
        for column in sealed_columns():
            tally = reseal(column, ring)
            total.resealed += tally.resealed
            total.overtaken += tally.overtaken
            total.unopened += tally.unopened
            if tally.resealed or tally.unopened:
                self.stdout.write(f"{_name(column)}: {tally.resealed} sealed with {ring.active}.")
        self.stdout.write(f"{total.resealed} values sealed anew, {total.overtaken} changed meanwhile.")
        return total

    def _prune(self, ring: Keyring) -> None:
        used = keys_in_use()
        unused = [name for name in ring.key_ids if name != ring.active and not used[name]]
        ring.drop_keys(unused)
        self.stdout.write(f"Keys forgotten: {', '.join(unused) or 'none'}. Kept: {', '.join(ring.key_ids)}.")


def sealed_columns() -> list[Sealed]:
    return [column for model in apps.get_models() for column in sealed_fields(model)]


def reseal(column: Sealed, ring: Keyring) -> Tally:
    """Seal every value of the column that an older key sealed with the active one."""
    tally, after = Tally(), None
    while True:
        rows = _retry_deadlocks(lambda start=after: _reseal_batch(column, ring, start, tally))
        if not rows:
            return tally
        after = rows[-1]


def _reseal_batch(column: Sealed, ring: Keyring, after, tally: Tally) -> list:
    """The primary keys looked at, in order; empty at the end. Counts only what was committed."""
    table, name, key = _quoted(column)
    prefix = header(ring.active)
    resealed, overtaken, unopened = 0, 0, []
    with system_scope(), connection.cursor() as cursor:
        cursor.execute(
            f"""SELECT {key}, {name} FROM {table}
                WHERE {name} IS NOT NULL AND substr({name}, 1, %s) <> %s AND (%s::uuid IS NULL OR {key} > %s)
                ORDER BY {key} LIMIT %s""",  # noqa: S608 (names of our own models, quoted)
            [len(prefix), prefix, after, after, BATCH],
        )
        rows = [(pk, bytes(old)) for pk, old in cursor.fetchall()]
        for pk, old in rows:
            bound_to = column.binding(pk)
            try:
                new = ring.seal(ring.open(old, bound_to), bound_to)
            except KeyringError:
                unopened.append(f"{_name(column)} {pk}")
                continue
            cursor.execute(
                f"UPDATE {table} SET {name} = %s WHERE {key} = %s AND {name} = %s",  # noqa: S608 (names from our models)
                [new, pk, old],
            )
            resealed += cursor.rowcount
            overtaken += 1 - cursor.rowcount
    tally.resealed += resealed
    tally.overtaken += overtaken
    tally.unopened += unopened
    return [pk for pk, _ in rows]


def _retry_deadlocks(work):
    """Rows are locked in the order of their ids, others may lock them in another; PostgreSQL then ends one of us."""
    for left in reversed(range(DEADLOCK_TRIES)):
        try:
            return work()
        except OperationalError as error:
            if not left or getattr(error.__cause__, "sqlstate", None) != DEADLOCK:
                raise
    raise AssertionError("unreachable")


def keys_in_use() -> Counter[str]:
    """How many values each key seals."""
    used: Counter[str] = Counter()
    with system_scope(), connection.cursor() as cursor:
        for column in sealed_columns():
            table, name, _ = _quoted(column)
            cursor.execute(
                f"""SELECT substr({name}, 3, get_byte({name}, 1)), count(*) FROM {table}
                    WHERE {name} IS NOT NULL GROUP BY 1"""  # noqa: S608 (names of our own models, quoted)
            )
            used.update({bytes(key).decode(errors="replace"): count for key, count in cursor.fetchall()})
    return used


def _database_clock():
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        return cursor.fetchone()[0]


def _wait_for_transactions_before(moment, seconds: int) -> None:
    deadline = time.monotonic() + seconds
    while True:
        with connection.cursor() as cursor:
            cursor.execute(
                """SELECT count(*) FROM pg_stat_activity
                   WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start < %s""",
                [moment],
            )
            if not cursor.fetchone()[0]:
                return
        if time.monotonic() > deadline:
            raise CommandError(
                f"A transaction from before the new key still runs after {seconds} s, so nothing was forgotten."
                " Everything is sealed anew; run `rotate_keyring --resume --prune` later."
            )
        time.sleep(0.2)


def _name(column: Sealed) -> str:
    return f"{column.model._meta.label}.{column.name}"


def _quoted(column: Sealed) -> tuple[str, str, str]:
    quote = connection.ops.quote_name
    options = column.model._meta
    return quote(options.db_table), quote(column.column), quote(options.pk.column)
