"""`manage.py create_tenant "Acme" --owner owner@example.com --json`: a tenant, its owner and an API key, for scripts.

Works beside a running portal. The password is generated and shown here only; with `--one-time-password` its
owner has to change it at the first sign-in. Who has an account already keeps its password (`null` here).
"""

import json
import sys

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError
from django.core.validators import validate_email
from django.db import OperationalError, ProgrammingError

from tenants.actors import system_actor
from tenants.models import ApiKey, AuditEntry, Membership, Tenant, User
from tenants.permissions import Role
from tenants.scope import system_scope

ACTOR = "manage.py create_tenant"


class Command(BaseCommand):
    help = "Create a tenant with an owner and an API key. With --json for scripts."
    requires_system_checks = ()

    def add_arguments(self, parser):
        parser.add_argument("name")
        parser.add_argument("--owner", required=True, metavar="EMAIL")
        parser.add_argument("--role-of-key", choices=Role.values, default=Role.OWNER)
        parser.add_argument(
            "--one-time-password",
            action="store_true",
            help="The owner has to change the password at the first sign-in.",
        )
        parser.add_argument("--json", action="store_true", help="Print one JSON object and nothing else.")

    def handle(self, *args, name: str, owner: str, **options):
        name, owner = name.strip(), owner.strip().lower()
        _check(name, owner)
        try:
            made = create(name, owner, role_of_key=options["role_of_key"], one_time=options["one_time_password"])
        except OperationalError as error:
            raise CommandError(f"{_advice()} ({str(error).splitlines()[0]})") from None
        except ProgrammingError:
            raise CommandError("The database has no tables yet: run `make serve`, or `manage.py migrate`.") from None
        if options["json"]:
            self.stdout.write(json.dumps(made))
            return
        self.stdout.write(f"Tenant    {name} ({made['tenant']})")
        self.stdout.write(f"Owner     {made['owner']}")
        self.stdout.write(f"Password  {made['password'] or 'unchanged: this person had an account already'}")
        self.stdout.write(f"API key   {made['api_key']} ({options['role_of_key']})")
        self.stdout.write("Password and key are shown here only.")

    def run_from_argv(self, argv):
        """An error is a sentence, and the exit code 1, for a wrong option too."""
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            if end.code not in (0, None):
                sys.exit(1)
            raise


def create(name: str, owner: str, *, role_of_key: str, one_time: bool) -> dict:
    """`{"tenant", "owner", "password", "api_key"}`; all of it or nothing."""
    with system_scope():
        tenant = Tenant.objects.create(name=name)
        user, password = User.objects.filter(email=owner).first(), None
        if user is None:
            user, password = User.objects.create_with_one_time_password(owner)
            user.must_change_password = one_time
            user.save(update_fields=["must_change_password"])
        Membership.objects.create(tenant=tenant, user=user, role=Role.OWNER)
        key, token = ApiKey.issue(tenant=tenant, name="create_tenant", role=role_of_key, created_by=user)
        actor = system_actor(ACTOR, tenant)
        AuditEntry.record(actor, "tenant.created", tenant, {"owner": [None, owner]})
        AuditEntry.record(actor, "api_key.created", key, {"role": [None, role_of_key]})
    return {"tenant": str(tenant.pk), "owner": owner, "password": password, "api_key": token}


def _check(name: str, owner: str) -> None:
    if not name:
        raise CommandError("Give the tenant a name.")
    if len(name) > 100:
        raise CommandError("The name is longer than 100 characters.")
    if "\x00" in name:
        raise CommandError("The name holds a NUL character.")
    try:
        validate_email(owner)
    except ValidationError:
        raise CommandError(f'"{owner}" is not an email address.') from None


def _advice() -> str:
    if settings.EMBEDDED is not None:
        return "The bundled PostgreSQL is not running: start it with `make serve`."
    return "The database that DATABASE_URL names cannot be reached."
