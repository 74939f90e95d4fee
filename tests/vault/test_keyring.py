"""AES-256-GCM over a keyring file (B10)."""

import base64
import json
import os
import stat
import threading

import pytest

from vault.keyring import Keyring, KeyringError

pytestmark = pytest.mark.spec("B10")
PLACE = "table.column:row-1"


def write(path, active="k1", **keys):
    keys = {name: base64.b64encode(key).decode() for name, key in keys.items()}
    path.write_text(json.dumps({"active": active, "keys": keys}))
    path.chmod(0o600)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "keyring.json"
    write(path, k1=b"\x01" * 32)
    return path


@pytest.fixture
def ring(path):
    return Keyring(path)


def test_what_was_sealed_opens(ring):
    assert ring.open(ring.seal(b"secret", PLACE), PLACE) == b"secret"


def test_the_sealed_value_shows_nothing_and_differs_each_time(ring):
    first, second = ring.seal(b"secret", PLACE), ring.seal(b"secret", PLACE)
    assert b"secret" not in first
    assert first != second


def test_another_row_does_not_open_it(ring):
    with pytest.raises(KeyringError):
        ring.open(ring.seal(b"secret", PLACE), "table.column:row-2")


def test_any_changed_bit_is_noticed(ring):
    sealed = ring.seal(b"secret", PLACE)
    for index in range(len(sealed)):
        changed = bytearray(sealed)
        changed[index] ^= 1
        with pytest.raises(KeyringError):
            ring.open(bytes(changed), PLACE)


def test_a_cut_value_is_noticed(ring):
    sealed = ring.seal(b"secret", PLACE)
    for length in range(len(sealed)):
        with pytest.raises(KeyringError):
            ring.open(sealed[:length], PLACE)


def test_an_unknown_key_is_named(ring, path):
    sealed = ring.seal(b"secret", PLACE)
    write(path, active="k2", k2=b"\x02" * 32)
    with pytest.raises(KeyringError, match='"k1"'):
        Keyring(path).open(sealed, PLACE)


def test_the_wrong_key_under_the_same_name_does_not_open(ring, path, tmp_path):
    other = tmp_path / "other.json"
    write(other, k1=b"\x09" * 32)
    with pytest.raises(KeyringError):
        ring.open(Keyring(other).seal(b"secret", PLACE), PLACE)


def test_no_error_shows_the_key_or_the_value(ring):
    sealed = bytearray(ring.seal(b"secret", PLACE))
    sealed[-1] ^= 1
    with pytest.raises(KeyringError) as caught:
        ring.open(bytes(sealed), PLACE)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(KeyringError, match="KEYRING_FILE"):
        Keyring(tmp_path / "none.json").seal(b"x", PLACE)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "null", '{"keys": {}}', '{"active": "k1", "keys": {}}', '{"active": "k1", "keys": []}',
        '{"active": "k1", "keys": {"k1": "!"}}', '{"active": "k1", "keys": {"k1": "AAAA"}}',
        '{"active": "k1", "keys": {"k1": 7}}', '{"active": ["k1"], "keys": {"k1": "AAAA"}}',
        json.dumps({"active": "", "keys": {"": base64.b64encode(bytes(32)).decode()}}),
        json.dumps({"active": "k" * 256, "keys": {"k" * 256: base64.b64encode(bytes(32)).decode()}}),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_as_such(path, text):
    path.write_text(text)
    with pytest.raises(KeyringError, match="malformed"):
        Keyring(path).seal(b"x", PLACE)


def test_a_new_key_seals_in_another_process_at_once(ring, path):
    elsewhere = Keyring(path)
    old = elsewhere.seal(b"old", PLACE)
    assert ring.add_key() == "k2"
    assert elsewhere.key_of(elsewhere.seal(b"new", PLACE)) == "k2"
    assert elsewhere.open(old, PLACE) == b"old"


def test_another_process_opens_what_the_new_key_sealed(ring, path):
    elsewhere = Keyring(path)
    elsewhere.seal(b"warm", PLACE)
    ring.add_key()
    assert elsewhere.open(ring.seal(b"new", PLACE), PLACE) == b"new"


def test_the_file_stays_private(ring, path):
    ring.add_key()
    ring.drop_keys(["k1"])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_root_does_not_take_the_file_from_the_portals_user(ring, path):
    os.chown(path, 12345, 12345)
    ring.add_key()
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 12345)


def test_nothing_else_is_left_beside_it(ring, path):
    ring.add_key()
    assert {entry.name for entry in path.parent.iterdir()} == {path.name, f".{path.name}.lock"}


def test_the_active_key_cannot_be_dropped(ring):
    with pytest.raises(KeyringError):
        ring.drop_keys(["k1"])


def test_names_are_not_used_again(ring):
    ring.add_key()
    ring.drop_keys(["k1"])
    assert ring.add_key() == "k3"


def test_keys_added_at_once_are_all_kept(path):
    threads = [threading.Thread(target=Keyring(path).add_key) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(Keyring(path).key_ids) == 9


def test_threads_that_seal_during_a_rotation_name_the_right_key(path):
    shared, failures, stop = Keyring(path), [], threading.Event()

    def work():
        while not stop.is_set():
            try:
                assert shared.open(shared.seal(b"x", PLACE), PLACE) == b"x"
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(20):
        Keyring(path).add_key()
    stop.set()
    for thread in threads:
        thread.join()
    assert not failures
