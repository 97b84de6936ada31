"""Where a call goes and with which key: the deployment's, or what it lets this client set."""

from collections.abc import Mapping
from typing import Any

from pydantic import SecretStr

from schemas.config import Deployment
from schemas.failures import Kind, Refused

BEARER = ("Authorization", "Bearer {}")

_OURS = frozenset(
    {"host", "content-length", "content-type", "transfer-encoding", "connection", "te", "upgrade", "expect"}
)
"""Headers that frame a request: whoever sets them could smuggle another one."""


class Access:
    """One deployment's address and headers. `secrets` are what must never be shown."""

    def __init__(
        self, deployment: Deployment, base: str | None, headers: Mapping[str, str], key_header: tuple[str, str] = BEARER
    ) -> None:
        self._base = (deployment.api_base or base or "").rstrip("/")
        self._plain = dict(headers)
        self._key_header = key_header
        key = _reveal(deployment.api_key)
        self._headers = _merged(headers, self._with_key(key), deployment.headers)
        self.secrets = tuple(secret for secret in (key, *deployment.headers.values()) if len(secret) >= 8)

    def to(self, path: str, credentials: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        """(URL, headers) of a call. Raises `Refused` without an address, or for what a client must not set."""
        if credentials:
            return self._client(path, credentials)
        if not self._base:
            raise Refused(Kind.PROVIDER_NOT_FOUND, "The deployment has no api_base, and its provider has no default.")
        return self._base + path, self._headers

    def _client(self, path: str, credentials: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
        base = _text(credentials, "api_base") or _text(credentials, "base_url")
        if base and not base.startswith(("http://", "https://")):
            raise Refused(Kind.INVALID_REQUEST, "api_base must be an http or https URL.", param="api_base")
        key = _text(credentials, "api_key")
        # Our key and headers never go to an address that the client chose, nor along with the client's own key.
        headers = _merged(self._plain, self._with_key(key)) if base or key else dict(self._headers)
        organization = _text(credentials, "organization")
        if organization:
            headers["OpenAI-Organization"] = organization
        headers = _merged(headers, _extra(credentials.get("extra_headers")))
        if not (base or self._base):
            raise Refused(Kind.PROVIDER_NOT_FOUND, "The deployment has no api_base, and its provider has no default.")
        return (base.rstrip("/") or self._base) + path, headers

    def _with_key(self, key: str) -> Mapping[str, str]:
        name, form = self._key_header
        return {name: form.format(key)} if key else {}


def _merged(*parts: Mapping[str, str]) -> dict[str, str]:
    """Later headers replace earlier ones of the same name in any case."""
    found: dict[str, tuple[str, str]] = {}
    for part in parts:
        for name, value in part.items():
            found[name.lower()] = (name, value)
    return dict(found.values())


def _reveal(secret: SecretStr | None) -> str:
    return secret.get_secret_value().strip() if secret is not None else ""


def _text(credentials: Mapping[str, Any], name: str) -> str:
    value = credentials.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or not value.isprintable():
        raise Refused(Kind.INVALID_REQUEST, f"{name} must be a string.", param=name)
    return value.strip()


def _extra(headers: object) -> Mapping[str, str]:
    if not headers:
        return {}
    if not isinstance(headers, Mapping) or not all(_harmless(*item) for item in headers.items()):
        raise Refused(
            Kind.INVALID_REQUEST, "extra_headers must be an object of header names and strings.", param="extra_headers"
        )
    return {str(name): str(value) for name, value in headers.items()}


def _harmless(name: object, value: object) -> bool:
    return (
        isinstance(name, str)
        and isinstance(value, str)
        and name.replace("-", "").replace("_", "").isalnum()
        and name.isascii()
        and name.lower() not in _OURS
        and value.isprintable()
    )
