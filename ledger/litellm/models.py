"""LiteLLM's table of models, and the credentials that they refer to, as models of ours."""

from collections.abc import Callable, Mapping
from typing import Any

from ledger.litellm.ciphers import Cipher, looks_encrypted
from ledger.litellm.source import Row
from ledger.litellm.values import Say, fields, name
from ledger.models import Model
from schemas.params import divided

_OURS = frozenset({"id", "db_model", "created_at", "created_by", "updated_at", "updated_by", "blocked"})
_LONGEST_ID = 200
_CREDENTIAL = "litellm_credential_name"


class Unreadable(Exception):
    """Why a model cannot be carried over, as the end of a sentence."""


def credentials(rows: list[Row], cipher: Cipher | None, about: Callable[[str, str], Say]) -> dict[str, dict[str, Any]]:
    """The values of credentials by name; what cannot be read of them is left out, and said."""
    found = {}
    for row in rows:
        called = row["credential_name"]
        say = about("credential", called)
        found[called], unread = _readable(row.get("credential_values"), cipher, say)
        if unread:
            say(f"without {', '.join(sorted(unread))}: {_why(cipher)}")
    return found


def named_credential(row: Row, cipher: Cipher | None) -> str | None:
    """The credential that a model refers to."""
    return name(_readable(row.get("litellm_params"), cipher, lambda _: None)[0].get(_CREDENTIAL))


def model(
    row: Row, known: Mapping[str, Mapping[str, Any]], cipher: Cipher | None, say: Say
) -> tuple[Model, dict[str, Any]]:
    """A model, and what is secret of it. Raises `Unreadable`."""
    id = row["model_id"]
    if not 0 < len(id) <= _LONGEST_ID or not id.isprintable():
        raise Unreadable(f"its id is no text of at most {_LONGEST_ID} printable characters")
    info = fields(row.get("model_info"), say, "model_info")
    if info.get("team_id") is not None:
        raise Unreadable("it is one team's own: give the keys of that team a model group of their own")
    params, unread = _readable(row.get("litellm_params"), cipher, say)
    if "model" in unread:
        raise Unreadable(f"the provider's model cannot be read: {_why(cipher)}")
    if not name(params.get("model")):
        raise Unreadable("it says no provider's model")
    if unread:
        say(f"without {', '.join(sorted(unread))}: {_why(cipher)}")
    params = _with_credential(params, known, say)
    public, secret = divided({key: value for key, value in params.items() if value is not None})
    kept = {key: value for key, value in info.items() if key not in _OURS and value is not None}
    return Model(id, row["model_name"], public, None, kept, bool(row.get("blocked"))), secret


def _with_credential(params: dict[str, Any], known: Mapping[str, Mapping[str, Any]], say: Say) -> dict[str, Any]:
    """The parameters with those of the credential that they name; what the model says itself goes before."""
    called = params.get(_CREDENTIAL)
    if called is None:
        return params
    left = {key: value for key, value in params.items() if key != _CREDENTIAL}
    if called not in known:
        say(f"there is no credential '{str(called)[:100]}', which it refers to")
        return left
    return {**known[called], **left}


def _readable(value: Any, cipher: Cipher | None, say: Say) -> tuple[dict[str, Any], set[str]]:
    """The parameters that can be read, and the names of those that cannot.

    LiteLLM encrypts every text of a row. Where the salt key opens one, a text that it does not open was never closed.
    """
    given = fields(value, say, "litellm_params")
    opened = {key: _opened(text, cipher) for key, text in given.items()}
    right = any(text is not None for text in opened.values())
    unread = set() if right else {key for key, text in given.items() if looks_encrypted(text)}
    found = {key: text if opened[key] is None else opened[key] for key, text in given.items() if key not in unread}
    return found, unread


def _opened(value: Any, cipher: Cipher | None) -> str | None:
    return cipher.read(value) if cipher is not None and isinstance(value, str) else None


def _why(cipher: Cipher | None) -> str:
    return "it is encrypted, and no salt key was given" if cipher is None else "it is encrypted with another salt key"
