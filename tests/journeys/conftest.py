import itertools

import pytest

from tests.portal import Portal

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def portal():
    """One running portal for all tests that only use it; each takes a tenant of its own."""
    with Portal() as running:
        yield running


@pytest.fixture
def tenant(portal):
    return portal.create_tenant(f"Acme{next(_numbers)}")
