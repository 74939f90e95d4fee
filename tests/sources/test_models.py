"""The verbs of a source, but for rotation."""

import pytest

from sources.authentication import METHODS, ConfigError
from sources.models import Source
from tenants.scope import tenant_scope


@pytest.fixture
def acme(cast):
    with tenant_scope(cast.tenant.pk):
        yield cast


def make(cast, method="hmac", config=None, **fields):
    config = {"username": "ada"} if method == "basic" and config is None else config or {}
    return Source.objects.create_with_secret(cast.tenant, cast.owner, "Orders", method, config, **fields)


@pytest.mark.parametrize("method", [name for name, one in METHODS.items() if one.has_secret and one.makes_secret])
@pytest.mark.spec("P5", "P6", "P7", "P8", "D3")
def test_a_created_source_accepts_the_secret_that_was_returned(acme, method):
    source, secret = make(acme, method)
    assert secret.startswith(METHODS[method].prefix)
    assert source.current_credential.matches(secret)
    assert source.current_credential.last_four == secret[-4:]


@pytest.mark.spec("P9")
def test_the_method_none_has_no_secret(acme):
    source, secret = make(acme, "none")
    assert secret is None
    assert source.current_credential is None


@pytest.mark.spec("P1")
def test_every_source_has_a_url_of_its_own(acme):
    keys = {make(acme)[0].ingest_key for _ in range(5)}
    assert len(keys) == 5
    assert all(len(key) == 32 for key in keys)


def test_settings_are_stored_with_their_defaults(acme):
    source, _ = make(acme, "hmac", {"header": "X-Sig"})
    assert source.auth_config == {"header": "X-Sig", "algorithm": "sha256"}


def test_every_wrong_setting_is_named_at_once(acme):
    with pytest.raises(ConfigError) as caught:
        make(acme, "jwt", {"header": "X_Bad", "max_age_seconds": 1}, secret="short")
    assert set(caught.value.errors) == {"header", "max_age_seconds", "secret"}
    assert not Source.objects.exists()


def test_an_unknown_method_is_a_config_error(acme):
    with pytest.raises(ConfigError):
        make(acme, "carrier-pigeon")


@pytest.mark.parametrize("method", ["shared_secret", "bearer", "basic"])
@pytest.mark.spec("B10")
def test_a_generated_secret_that_is_only_compared_is_kept_as_a_digest(acme, method):
    credential = make(acme, method)[0].current_credential
    assert credential.value is None
    assert len(bytes(credential.digest)) == 32


@pytest.mark.parametrize("method", ["shared_secret", "bearer", "basic"])
@pytest.mark.spec("B10")
def test_a_typed_secret_is_sealed_and_never_a_bare_digest(acme, method):
    source, secret = make(acme, method, secret="correct horse!staple".replace(" ", "-"))
    assert source.current_credential.digest is None
    assert source.current_credential.value == secret


@pytest.mark.spec("P7")
def test_a_typed_bearer_token_is_kept_without_its_scheme(acme):
    source, secret = make(acme, "bearer", secret="Bearer 0123456789abcdef")
    assert secret == "0123456789abcdef"
    assert source.current_credential.matches("0123456789abcdef")


def test_pausing_and_resuming_count_once(acme):
    source, _ = make(acme)
    assert (source.pause(), source.pause(), source.status) == (True, False, "paused")
    assert (source.resume(), source.resume(), source.status) == (True, False, "active")


def test_a_new_url_replaces_the_old_one(acme):
    source, _ = make(acme)
    old = source.url
    assert source.regenerate_url() == source.url != old
    assert not Source.objects.filter(ingest_key=old.rsplit("/", 1)[1]).exists()


def test_deleting_destroys_url_and_secrets_and_keeps_the_name(acme):
    source, _ = make(acme)
    key = source.ingest_key
    assert source.delete() is True
    kept = Source.objects.get(pk=source.pk)
    assert kept.name == "Orders"
    assert kept.deleted_at
    assert key not in kept.ingest_key
    assert not kept.credentials.exists()
    assert not Source.objects.present().exists()


def test_a_deleted_source_is_deleted_once_and_cannot_be_changed(acme):
    source, _ = make(acme)
    again = Source.objects.get(pk=source.pk)
    source.delete()
    assert again.delete() is False
    assert again.pause() is False
    with pytest.raises(Source.DoesNotExist):
        again.regenerate_url()


@pytest.mark.spec("P14")
def test_touching_notes_a_post_at_most_twice_a_minute(acme):
    source, _ = make(acme)
    Source.objects.filter(pk=source.pk).touch()
    source.refresh_from_db()
    first = source.last_received_at
    Source.objects.filter(pk=source.pk).touch()
    source.refresh_from_db()
    assert first is not None
    assert source.last_received_at == first
