"""Makes the secrets that docker-compose.yml mounts: `python3 deploy/credentials.py [DIRECTORY]`.

Needs Python 3.10 and no packages. What is there already stays, so it can be run again: after an upgrade for new
permissions, or to replace a secret that was deleted. The directory is 0700; the files in it are readable for all,
because Compose mounts them with the host's owner and the containers run as other users.

RabbitMQ gets one user per role with the permissions of `broker.topology.ROLES` and no others: no `guest`, no
administrator. It reads them, with hashed passwords, from `rabbitmq_definitions` whenever it starts.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from broker.topology import ROLES  # noqa: E402 (it needs the path above, and only the standard library)

PROVIDER_KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")


def main(directory: Path) -> None:
    """Make what is missing."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.chmod(0o700)
    _keep(directory / "master_key", f"sk-{secrets.token_urlsafe(32)}")
    _keep(directory / "salt_key", secrets.token_urlsafe(32))
    password = _keep(directory / "postgres_password", secrets.token_urlsafe(24))
    _keep(directory / "database_url", f"postgresql://penstock:{password}@postgres:5432/penstock")
    for name in PROVIDER_KEYS:
        if os.environ.get(name):
            _write(directory / name.lower(), os.environ[name])
        else:
            _keep(directory / name.lower(), "")
    urls = {
        role: _keep(directory / f"amqp_{role}", f"amqp://penstock-{role}:{secrets.token_urlsafe(24)}@rabbitmq:5672/")
        for role in ROLES
    }
    _write(directory / "rabbitmq_definitions", json.dumps(definitions(urls), indent=2))


def definitions(urls: dict[str, str]) -> dict[str, object]:
    """RabbitMQ's users and permissions from an AMQP URL per role; https://www.rabbitmq.com/docs/definitions."""
    logins = {role: urlsplit(url) for role, url in urls.items()}
    return {
        "vhosts": [{"name": "/"}],
        "users": [
            {
                "name": login.username,
                "password_hash": hashed(login.password or ""),
                "hashing_algorithm": "rabbit_password_hashing_sha256",
                "tags": [],
            }
            for login in logins.values()
        ],
        "permissions": [
            {
                "user": login.username,
                "vhost": "/",
                "configure": ROLES[role].configure,
                "write": ROLES[role].write,
                "read": ROLES[role].read,
            }
            for role, login in logins.items()
        ],
    }


def hashed(password: str) -> str:
    """A salted password as RabbitMQ stores it; https://www.rabbitmq.com/docs/passwords#computing-password-hash."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + password.encode()).digest()).decode()


def _keep(path: Path, value: str) -> str:
    if not path.exists():
        _write(path, value)
    return path.read_text(encoding="utf-8").strip()


def _write(path: Path, value: str) -> None:
    path.write_text(f"{value}\n" if value else "", encoding="utf-8")
    path.chmod(0o644)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "deploy" / "secrets"
    main(target)
    sys.stdout.write(f"The secrets are in {target}; the key for clients is in {target / 'master_key'}.\n")
