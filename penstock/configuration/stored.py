"""Models and credentials from the ledger as entries of the file, so that one reader is enough for both."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

import msgspec

from broker.seal import Seal
from ledger.credentials import Credential
from ledger.models import Model
from penstock.configuration.problems import Place, Wrong
from penstock.configuration.source import Node
from schemas.failures import Refused

Entity = Literal["model", "credential"]
_DEEPEST = 64


def sealed(secrets: Mapping[str, Any], id: str, seal: Seal, entity: Entity = "model") -> bytes:
    """The secret `litellm_params` of the model, or of the credential, with this id, as the ledger keeps them."""
    return seal.close_bytes(msgspec.json.encode(secrets), _about(entity, id))


def unsealed(kept: Model | Credential, seal: Seal | None) -> dict[str, Any]:
    """What is secret of it. Raises `Wrong` when it was sealed with a key that is not here."""
    if kept.sealed is None:
        return {}
    if seal is None:
        raise Wrong("its secrets are sealed, and there is no salt key here (PENSTOCK_SALT_KEY)")
    about = _about("model", kept.id) if isinstance(kept, Model) else _about("credential", kept.name)
    try:
        return msgspec.json.decode(seal.open_bytes(kept.sealed, about), type=dict[str, Any])
    except Refused:
        raise Wrong("its secrets are sealed with another salt key than PENSTOCK_SALT_KEY") from None


def given(credential: Credential, secrets: Mapping[str, Any]) -> Node:
    """The credential's values as they would stand in `credential_list`. Raises `Wrong`."""
    return node({**credential.values, **secrets}, Place(f"the credential {credential.name}", 0))


def entry(model: Model, secrets: Mapping[str, Any], file: str = "") -> Node:
    """The model as it would stand in `model_list`; `file` is what messages call its place. Raises `Wrong`."""
    value = {
        "model_name": model.name,
        "litellm_params": {**model.params, **secrets},
        "model_info": {**model.info, "id": model.id},
    }
    return node(value, Place(file, 0))


def node(value: Any, place: Place, depth: int = 0) -> Node:
    """A JSON value as a tree. Raises `Wrong` when it is nested too deeply."""
    if depth > _DEEPEST:
        raise Wrong(f"{place.path}: nested too deeply")
    if isinstance(value, dict):
        rows = value.items()
        return Node({str(key): node(child, place.under(str(key), 0), depth + 1) for key, child in rows}, place)
    if isinstance(value, list):
        return Node([node(child, place.under(i, 0), depth + 1) for i, child in enumerate(value)], place)
    if isinstance(value, float):
        value = Decimal(repr(value))
    if isinstance(value, bool):
        return Node(value, place, "true" if value else "false")
    return Node(value, place, "" if value is None else str(value))


def _about(entity: Entity, id: str) -> bytes:
    return f"penstock {entity} {id}".encode()
