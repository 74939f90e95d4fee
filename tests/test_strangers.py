"""Every route of the portal, walked by a stranger from another tenant and by nobody at all.

A route that takes an object's id answers 404 to the stranger, with every method it has, and exactly as for an id
that does not exist. A list shows nothing of the other tenant, whatever ids its filters and ordering are given.
Nobody is sent to sign in (pages) or refused with 401 (API). Nothing of it changes a row.

A new route with an id fails here until SAMPLES says which object it takes; a new public one until PUBLIC says why.
"""

import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from django.apps import apps
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver, reverse
from rest_framework.test import APIClient

from tenants.models import Tenant
from tenants.scope import system_scope
from tests.world import SECRET, fill

METHODS = ("get", "post", "put", "patch", "delete")
MARK = "Zanzibar"

# What stands for the id in a route, by the basename of its router or by the page's url name.
SAMPLES: dict[str, Callable] = {
    "api-member": lambda world: world.membership.pk,
    "api-invitation": lambda world: world.invitation.pk,
    "api-key": lambda world: world.key.pk,
    "api-site": lambda world: world.site.pk,
    "api-audit": lambda world: world.entry.pk,
    "api-tenant": lambda world: world.tenant.pk,
    "api_source": lambda world: world.source.pk,
    "source": lambda world: world.source.pk,
    "source_edit": lambda world: world.source.pk,
    "api-receipt": lambda world: world.receipt.pk,
    "receipt": lambda world: world.receipt.pk,
    "api-event": lambda world: world.event.pk,
    "api-alarm": lambda world: world.alarm.pk,
    "api-alarm-episode": lambda world: world.alarm_episode.pk,
    "source_health": lambda world: world.source.pk,
    "event": lambda world: world.event.pk,
    "api-schema": lambda world: world.schema.pk,
    "api-schema-version": lambda world: world.schema_version.pk,
    "api-source-schemas": lambda world: world.source.pk,
    "schema_detail": lambda world: world.schema.pk,
    "schema_verdicts": lambda world: world.schema.pk,
    "source_schemas": lambda world: world.source.pk,
    "api_subscription": lambda world: world.subscription.pk,
    "subscription": lambda world: world.subscription.pk,
    "subscription_edit": lambda world: world.subscription.pk,
    "subscription_state": lambda world: world.subscription.pk,
    "api-subscription-figures": lambda world: world.subscription.pk,
    "subscription_figures": lambda world: world.subscription.pk,
    "api_delivery": lambda world: world.delivery.pk,
    "delivery": lambda world: world.delivery.pk,
    "delivery_of_notice": lambda world: world.notice.pk,
    "api_attempt": lambda world: world.attempt.pk,
    "api_replay": lambda world: world.replay.pk,
    "replay": lambda world: world.replay.pk,
    "api_poll": lambda world: world.polled.pk,
    "pull_of_subscription": lambda world: world.polled.pk,
    "replays_of_subscription": lambda world: world.subscription.pk,
}

# Ids in bodies: the stranger's own request that names another tenant's objects. Never 2xx.
BODIES: dict[tuple[str, str], Callable] = {
    ("api_source-list", "post"): lambda world: {
        "name": "Ours",
        "auth": {"method": "jwt"},
        "assigned_to": str(world.membership.user_id),
    },
    ("api-schema-list", "post"): lambda world: {"name": "A", "document": {}, "attach": [str(world.source.pk)]},
    ("api-schema-version-list", "post"): lambda world: {"schema": str(world.schema.pk), "document": {}},
    ("api-schema-infer", "post"): lambda world: {"source": str(world.source.pk)},
    ("api-schema-test", "post"): lambda world: {"source": str(world.source.pk), "document": {}},
    ("api_replay-list", "post"): lambda world: {"subscription": str(world.subscription.pk), "kind": "deliveries"},
    ("api_replay-count", "post"): lambda world: {"subscription": str(world.subscription.pk), "kind": "deliveries"},
    ("api_delivery-cancel-pending", "post"): lambda world: {"subscription": str(world.subscription.pk)},
    ("api_delivery-count-pending", "post"): lambda world: {"subscription": str(world.subscription.pk)},
    ("api_subscription-list", "post"): lambda world: {
        "name": "Ours",
        "url": "https://receiver.example/",
        "sources": [str(world.source.pk)],
    },
    ("api_subscription-try-filter", "post"): lambda world: {"sites": [str(world.site.pk)]},
    ("api_delivery-try-now", "post"): lambda world: {"subscription": str(world.subscription.pk)},
    ("api-event-list", "post"): lambda world: {"type": "order.paid", "payload": {}, "site": str(world.site.pk)},
}

# Open to everybody on purpose; a name that ends in * stands for all that begin so.
PUBLIC: dict[str, str] = {
    "account_*": "allauth's own: signing in, passwords, addresses of the person signed in",
    "healthz": "is the process up",
    "favicon": "the icon, where browsers look for it",
    "robots": "tells search engines to stay away",
    "readyz": "may it be sent traffic",
    "schema": "the API's description",
    "api_docs": "the API's description",
    "without_slash": "says where an address of the API is",
    "ingest*": "senders prove themselves to a source",
    "subscription_confirm": "a receiver agrees; the token is the proof",
    "invitation": "a person joins; the token is the proof",
}

# Refused as such, not as missing: what only operators list.
OPERATORS = {"api-tenant", "operators_tenants"}


@dataclass(frozen=True)
class Route:
    name: str
    path: str
    parameters: tuple[str, ...]
    actions: tuple[str, ...]  # the methods of an API route; empty for a page
    basename: str
    filters: tuple[str, ...]

    @property
    def is_api(self) -> bool:
        return self.path.startswith("api/")

    @property
    def sample(self) -> str | None:
        return next((key for key in (self.name, self.basename) if key in SAMPLES), None)

    @property
    def is_public(self) -> bool:
        return any(self.name == key or (key.endswith("*") and self.name.startswith(key[:-1])) for key in PUBLIC)

    def url(self, identifier: object = None) -> str:
        return reverse(self.name, kwargs=dict.fromkeys(self.parameters, identifier))


def walk(patterns, prefix="", outer=()):
    for pattern in patterns:
        regex = pattern.pattern.regex.groupindex
        parameters = (*outer, *regex)
        path = prefix + str(pattern.pattern).lstrip("^")
        if isinstance(pattern, URLResolver):
            yield from walk(pattern.url_patterns, path, parameters)
        elif isinstance(pattern, URLPattern):
            view = pattern.callback
            kind = getattr(view, "cls", None)
            filterset = getattr(kind, "filterset_class", None)
            yield Route(
                name=pattern.name or "",
                path=path,
                parameters=tuple(dict.fromkeys(parameters)),
                actions=tuple(m for m in getattr(view, "actions", None) or () if m in kind.http_method_names),
                basename=getattr(view, "initkwargs", {}).get("basename") or "",
                filters=tuple(filterset.base_filters) if filterset else (),
            )


ROUTES = list(walk(get_resolver().url_patterns))
OWN = [route for route in ROUTES if not route.is_public]
OBJECTS = [route for route in OWN if route.parameters and route.sample]
LISTS = [route for route in OWN if not route.parameters]
identify = {"ids": lambda route: route.path or "/"}


@pytest.fixture
def world(cast):
    with system_scope():
        made = fill(cast.tenant, MARK)
        fill(cast.other_tenant, "Ours")
        Tenant.objects.filter(pk=cast.tenant.pk).update(name=MARK)
    return made


@pytest.fixture
def strangers(browser, cast, stranger_api):
    """The same person twice: with a session and with an API key."""
    session = browser(cast.stranger)
    return {"session": session, "key": stranger_api}


def ask(client, method: str, url: str, body: dict | None = None):
    if method == "get":
        return client.get(url)
    if isinstance(client, APIClient):
        return getattr(client, method)(url, body or {}, format="json")
    return getattr(client, method)(url, body or {}, content_type="application/json")


def clients_for(route: Route, strangers: dict) -> list:
    """Pages know no API keys."""
    return list(strangers.values()) if route.is_api else [strangers["session"]]


def ids_of(world) -> set[str]:
    return {str(row.pk) for row in vars(world).values()}


def leaks(answer, world, *, asked_with_ids: bool = False) -> list[str]:
    text = answer if isinstance(answer, str) else answer.getvalue().decode(errors="replace")
    known = {MARK, MARK.lower(), SECRET} | (set() if asked_with_ids else ids_of(world))
    return [word for word in known if word in text]


def everything(tenant) -> dict[str, list]:
    """All rows of a tenant, as they are in the database."""
    with system_scope():
        return {
            model._meta.label: sorted(model._base_manager.filter(tenant=tenant).values_list(), key=str)
            for model in apps.get_models()
            if any(field.name == "tenant" for field in model._meta.concrete_fields)
        } | {"tenant": list(Tenant.objects.filter(pk=tenant.pk).values_list())}


# ── The table is whole ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", ROUTES, **identify)
def test_every_route_is_accounted_for(route):
    assert route.name, f"{route.path} has no name: give it one"
    assert route.is_public or not route.parameters or route.sample, (
        f"{route.path} ({route.name}) takes {route.parameters}: say in SAMPLES which, or in PUBLIC why it is open"
    )


def test_no_sample_is_left_over():
    used = {route.sample for route in OBJECTS}
    assert set(SAMPLES) - used == set()


# ── The stranger ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", OBJECTS, **identify)
def test_another_tenants_object_is_404(route, world, strangers):
    url, missing = route.url(SAMPLES[route.sample](world)), route.url(uuid.uuid4())
    for client in clients_for(route, strangers):
        for method in METHODS:
            answer, nothing = ask(client, method, url), ask(client, method, missing)
            routed = method in route.actions if route.is_api else method == "get"
            # An API key never even signs in to the operators' endpoints, and what has no such method may say so.
            refused = (401, 403) if route.basename in OPERATORS and client is strangers["key"] else ()
            allowed = {404, *refused} if routed else {404, 405, 403, *refused}
            assert answer.status_code in allowed, f"{method} {url}: {answer.status_code} {answer.content[:300]!r}"
            told = answer.content.decode().replace(url, "")
            assert leaks(told, world) == []
            assert (answer.status_code, told) == (nothing.status_code, nothing.content.decode().replace(missing, ""))


@pytest.mark.parametrize("route", LISTS, **identify)
def test_a_list_shows_nothing_of_the_other_tenant(route, world, strangers):
    for client in clients_for(route, strangers):
        answer = client.get(route.url())
        assert answer.status_code in {200, 204, 302, 401, 403, 405}, answer.content[:300]
        assert leaks(answer, world) == []


@pytest.mark.parametrize("route", LISTS, **identify)
def test_a_list_asked_with_the_other_tenants_ids_shows_nothing(route, world, strangers):
    rows = {name: row.pk for name, row in vars(world).items()}
    named = rows | {"actor": world.membership.user_id, "object": world.key.pk}
    asked = list(named.items())
    asked += [(name, world.tenant.pk) for name in route.filters if name not in named]
    asked += [("cursor", f"{sign}{pk}") for pk in (world.event.pk, world.entry.pk) for sign in ("", "-", "+")]
    for client in clients_for(route, strangers):
        for name, value in asked:
            answer = client.get(route.url(), {name: str(value)})
            assert answer.status_code < 500
            assert leaks(answer, world, asked_with_ids=True) == [], f"?{name}={value}"


@pytest.mark.parametrize("route", LISTS, **identify)
def test_a_list_searched_or_ordered_by_anything_shows_nothing(route, world, strangers):
    for client in clients_for(route, strangers):
        orders = ("tenant", "-tenant__name", "tenant_id", "source__tenant__name", "id", "?", "password")
        # One by one: a list of the API refuses a parameter that it does not know, and would show nothing for that.
        for name, value in [("q", MARK), ("search", MARK), ("limit", "200"), *(("ordering", one) for one in orders)]:
            answer = client.get(route.url(), {name: value})
            assert answer.status_code < 500
            text = answer.getvalue().decode(errors="replace")
            assert not any(identifier in text for identifier in ids_of(world)), f"?{name}={value}"


@pytest.mark.parametrize(("name", "method"), BODIES)
def test_another_tenants_id_in_a_body_is_refused(name, method, world, strangers):
    route = next(route for route in ROUTES if route.name == name)
    for client in clients_for(route, strangers):
        answer = ask(client, method, route.url(), BODIES[name, method](world))
        assert 400 <= answer.status_code < 500, answer.content[:300]
        assert leaks(answer, world, asked_with_ids=True) == []


def test_nothing_the_stranger_tried_changed_a_row(world, strangers, cast):
    before = everything(cast.tenant)
    for route in OBJECTS:
        for client in clients_for(route, strangers):
            for method in METHODS:
                ask(client, method, route.url(SAMPLES[route.sample](world)), {"name": "x", "role": "owner"})
    assert everything(cast.tenant) == before


def test_the_stranger_cannot_switch_to_the_other_tenant(strangers, cast):
    assert strangers["session"].post("/switch-tenant/", {"tenant": str(cast.tenant.pk)}).status_code == 404
    assert strangers["session"].get("/api/v1/tenant/").json()["id"] == str(cast.other_tenant.pk)


def test_a_tenant_written_into_the_session_counts_for_nothing(strangers, cast):
    session = strangers["session"].session
    session["tenant"] = str(cast.tenant.pk)
    session.save()
    assert strangers["session"].get("/api/v1/tenant/").json()["id"] == str(cast.other_tenant.pk)


# ── Nobody ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("route", OWN, **identify)
def test_nobody_gets_nowhere(route, world):
    url = route.url(SAMPLES[route.sample](world)) if route.parameters else route.url()
    for method in METHODS:
        answer = ask(Client(), method, url)
        if route.is_api:
            allowed = {401} if method in route.actions else {401, 405}
            assert answer.status_code in allowed, f"{method} {url}: {answer.status_code}"
        elif method == "get" and answer.status_code != 405:
            assert answer.status_code == 302, f"{method} {url}: {answer.status_code}"
            assert answer.url.startswith("/accounts/login/")
        else:
            assert answer.status_code in {302, 403, 405}, f"{method} {url}: {answer.status_code}"
        assert leaks(answer, world) == []
