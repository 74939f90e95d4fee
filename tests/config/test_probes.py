"""A load balancer probes by IP address and over plain HTTP."""

import pytest
from asgiref.sync import async_to_sync
from django.test import AsyncClient

each = pytest.mark.parametrize("path", ["/healthz", "/readyz"])


@each
def test_a_probe_is_answered_whatever_the_host(client, db, path):
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200


@pytest.mark.django_db(transaction=True)
@each
def test_over_asgi_too(path):
    answer = async_to_sync(AsyncClient().get)(path, headers={"Host": "10.1.2.3:8000"})
    assert answer.status_code == 200


@each
def test_a_probe_is_not_sent_to_https(client, db, settings, path):
    settings.SECURE_SSL_REDIRECT = True
    assert client.get(path).status_code == 200
    assert client.get(f"{path}x").status_code == 301
