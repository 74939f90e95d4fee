"""The keys of a first run."""

import base64
import json
import multiprocessing
import stat

import pytest

from config.keys import KeysMissing, ensure_keys


def test_keys_are_made_once_and_for_their_owner_only(tmp_path):
    first = ensure_keys(tmp_path)
    keyring = first.keyring.read_text()

    assert ensure_keys(tmp_path) == first
    assert first.keyring.read_text() == keyring
    for path in (tmp_path / "secret_key", first.keyring):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keyring_holds_one_active_key_of_32_bytes(tmp_path):
    keyring = json.loads(ensure_keys(tmp_path).keyring.read_text())
    assert len(base64.b64decode(keyring["keys"][keyring["active"]], validate=True)) == 32


def test_racing_processes_agree(tmp_path):
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        keys = pool.map(ensure_keys, [tmp_path] * 8)
    assert len({key.secret_key for key in keys}) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["keyring.json", "secret_key"]


def test_a_lost_keyring_is_not_replaced_beside_a_database(tmp_path):
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("18\n")
    with pytest.raises(KeysMissing, match="restore it from your backup"):
        ensure_keys(tmp_path)


def test_repr_hides_the_secret_key(tmp_path):
    keys = ensure_keys(tmp_path)
    assert keys.secret_key not in repr(keys)
