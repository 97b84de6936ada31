"""The keys that `serve` makes for itself when none are configured, and the master keys that everybody knows."""

import os
import secrets
from ipaddress import ip_address
from pathlib import Path

from pydantic import SecretStr

from penstock.configuration.known import words
from penstock.configuration.problems import ConfigurationError

FILE = "master-key"
SALT_FILE = "salt-key"
_WELL_KNOWN = words(
    """sk-1234 sk-12345 sk-123456 sk-12345678 1234 admin changeme master password secret sk-admin sk-changeme
    sk-change-me sk-default sk-key sk-litellm sk-master sk-master-key sk-password sk-penstock sk-secret sk-test
    sk-your-key sk-your-master-key sk-xxx sk-xxxx"""
)


def own_key(state_dir: Path) -> tuple[SecretStr, Path]:
    """The key in `<state_dir>/master-key`, made at the first run: directory 0700, file 0600, ours alone.

    Two processes that start at once agree on one key. Raises `ConfigurationError` when the directory is not usable.
    """
    return _own(state_dir / FILE, "master key")


def own_salt(state_dir: Path) -> SecretStr:
    """The same for the salt key, in `<state_dir>/salt-key`: it seals what the database beside it keeps."""
    return _own(state_dir / SALT_FILE, "salt key")[0]


def _own(path: Path, what: str) -> tuple[SecretStr, Path]:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError([f"{path}: the {what} cannot be read or made: {reason}"]) from None
    if not key:
        raise ConfigurationError([f"{path}: is empty; remove it and a new {what} is made"])
    return SecretStr(key), path


def _create(path: Path) -> None:
    """Written whole under another name, then linked: nobody ever reads half a key, and the first one wins."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(f"sk-{secrets.token_urlsafe(32)}\n")
        os.link(draft, path)
    except FileExistsError:
        pass
    finally:
        draft.unlink(missing_ok=True)


def refuse_well_known(key: SecretStr, host: str) -> None:
    """Raises `ConfigurationError` for a key out of a manual when others than this machine can reach us."""
    if key.get_secret_value().strip().lower() in _WELL_KNOWN and not is_loopback(host):
        raise ConfigurationError([f"the master key is a well-known one: on {host} it would let everybody in"])


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches the host."""
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
