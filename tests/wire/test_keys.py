"""The development key: made once, kept to its owner, never shown."""

import re
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from batchyard.access.keys import (
    CREDENTIALS_FILE,
    CredentialsFileError,
    KeyRing,
    load_or_create_development_key,
)

pytestmark = pytest.mark.ours_only


def test_the_first_call_makes_a_key_and_later_calls_give_it(tmp_path):
    folder = tmp_path / "data"
    key = load_or_create_development_key(folder)

    assert re.fullmatch(r"AKIA[A-Z2-7]{16}", key.id)
    assert re.fullmatch(r"[A-Za-z0-9+/]{40}", key.secret)
    assert key.account == "000000000000"
    assert key.principal_arn == "arn:aws:iam::000000000000:root"
    assert load_or_create_development_key(folder, "123456789012") == key
    assert [each.name for each in folder.iterdir()] == [CREDENTIALS_FILE]
    assert stat.S_IMODE((folder / CREDENTIALS_FILE).stat().st_mode) == 0o600
    assert key.secret not in repr(key)
    assert key.secret not in repr(KeyRing([key]))


def test_the_account_can_be_chosen(tmp_path):
    assert load_or_create_development_key(tmp_path, "123456789012").account == "123456789012"


def test_of_many_that_start_at_once_all_get_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        keys = list(pool.map(lambda _: load_or_create_development_key(tmp_path), range(16)))

    assert len({key.id for key in keys}) == 1


@pytest.mark.parametrize("content", ["", "{}", '{"secret_access_key": "hush', "\xff"])
def test_a_spoilt_file_is_refused_without_quoting_it(tmp_path, content):
    (tmp_path / CREDENTIALS_FILE).write_bytes(content.encode("latin-1"))

    with pytest.raises(CredentialsFileError, match="remove it to get a new key") as info:
        load_or_create_development_key(tmp_path)
    assert info.value.__cause__ is None
    assert "hush" not in str(info.value)


def test_a_ring_finds_keys_by_id(tmp_path):
    key = load_or_create_development_key(tmp_path)

    assert KeyRing([key]).find(key.id) is key
    assert KeyRing([key]).find("AKIA") is None
