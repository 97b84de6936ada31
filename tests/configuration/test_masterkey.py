"""The master key that is made at the first run, and those that must not be used."""

import os
import stat
import threading

import pytest
from pydantic import SecretStr

from penstock.configuration.masterkey import is_loopback, own_key, refuse_well_known
from penstock.configuration.problems import ConfigurationError


def _mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_it_is_made_once_and_is_ours_alone(tmp_path, umask):
    before = os.umask(umask)
    try:
        first, path = own_key(tmp_path / "state")
    finally:
        os.umask(before)
    assert first.get_secret_value().startswith("sk-")
    assert len(first.get_secret_value()) >= 40
    assert path == tmp_path / "state" / "master-key"
    assert (_mode(path), _mode(path.parent)) == (0o600, 0o700)
    again, _ = own_key(tmp_path / "state")
    assert again.get_secret_value() == first.get_secret_value()
    assert list(path.parent.iterdir()) == [path]


def test_two_places_have_two_keys(tmp_path):
    assert own_key(tmp_path / "a")[0].get_secret_value() != own_key(tmp_path / "b")[0].get_secret_value()


def test_all_who_start_at_once_agree(tmp_path):
    barrier, found = threading.Barrier(8), []

    def start():
        barrier.wait()
        found.append(own_key(tmp_path / "state")[0].get_secret_value())

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert len(set(found)) == 1
    assert list((tmp_path / "state").iterdir()) == [tmp_path / "state" / "master-key"]


def test_an_unusable_place_is_a_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be read or made"):
        own_key(tmp_path / "file")
    (tmp_path / "master-key").write_text("\n")
    with pytest.raises(ConfigurationError, match="is empty"):
        own_key(tmp_path)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "api.example.com", ""])
def test_a_well_known_key_is_refused_where_others_can_reach_us(host):
    for key in ("sk-1234", " SK-1234", "sk-test"):
        with pytest.raises(ConfigurationError) as caught:
            refuse_well_known(SecretStr(key), host)
        assert key not in str(caught.value)
    refuse_well_known(SecretStr("sk-something-of-their-own"), host)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.0.1", "localhost", "::1", "[::1]"])
def test_on_this_machine_alone_any_key_will_do(host):
    assert is_loopback(host)
    refuse_well_known(SecretStr("sk-1234"), host)
