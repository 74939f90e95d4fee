"""Cursor pages: every row once, in either direction, whatever somebody puts in the address."""

import pytest
from django.test import RequestFactory

from tenants.models import Site
from tenants.pagination import page_of
from tenants.scope import tenant_scope


def asked(address: str = "/sites/", **query: str):
    return RequestFactory().get(address, query)


@pytest.fixture
def sites(cast):
    """sites(n) → that many, newest first; the test runs in their tenant's scope."""
    with tenant_scope(cast.tenant.pk):
        yield lambda count: [Site.objects.create(tenant=cast.tenant, name=f"s{i}") for i in range(count)][::-1]


@pytest.mark.parametrize("count", range(8))
def test_walking_down_and_up_again_meets_every_row(sites, count):
    rows = sites(count)
    page = page_of(Site.objects.all(), asked(q="a&b"), 3)
    seen = list(page.rows)
    while page.older:
        page = page_of(Site.objects.all(), asked(page.older), 3)
        seen += page.rows
    assert seen == rows
    for _ in range(count):
        page = page_of(Site.objects.all(), asked(page.newer), 3) if page.newer else page
    assert page.rows == rows[:3]


def test_filters_stay_in_the_links(sites):
    sites(3)
    page = page_of(Site.objects.all(), asked(q="a&b"), 2)
    assert page_of(Site.objects.all(), asked(page.older), 2).newer.startswith("/sites/?q=a%26b&after=")


@pytest.mark.parametrize("name", ["before", "after"])
@pytest.mark.parametrize(
    "cursor", ["", "x", "-1", "\0", "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]
)
def test_a_cursor_beyond_the_ends_or_none_at_all_shows_rows(sites, name, cursor):
    sites(4)
    assert page_of(Site.objects.all(), asked(**{name: cursor}), 3).rows
    assert page_of(Site.objects.none(), asked(**{name: cursor}), 3).rows == []
