"""A model as the management API takes it, and as it shows it."""

import secrets
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from api.management.fields import Body, Json, Name
from ledger.models import Model, Row
from schemas.failures import Kind, Refused
from schemas.params import divided, shown, unmasked

_OURS = frozenset({"id", "db_model", "created_at", "created_by", "updated_at", "updated_by", "blocked"})
"""What answers show in `model_info` and no client sets there."""


class NewModel(Body):
    """The body of `/model/new`."""

    model_name: Name
    litellm_params: Json
    model_info: Json | None = None
    blocked: bool | None = None


class ModelPatch(Body):
    """What `/model/update` and `/model/{id}/update` change."""

    model_name: Name | None = None
    litellm_params: Json | None = None
    model_info: Json | None = None
    blocked: bool | None = None


class ModelId(Body):
    """The body of `/model/delete`."""

    id: Annotated[str, Field(max_length=512)]


class BlockedModel(Body):
    """The body of `/model/block` and `/model/unblock`."""

    model_id: Annotated[str, Field(max_length=512)]


def made(body: NewModel) -> tuple[Model, dict[str, Any]]:
    """The model, and what is secret of it. Raises `Refused`."""
    info = _known_info(body.model_info or {})
    id = (body.model_info or {}).get("id")
    if id is None:
        id = secrets.token_hex(16)
    if not isinstance(id, str) or not id or len(id) > _LONGEST_ID or not id.isprintable():
        said = f"An id is a text of at most {_LONGEST_ID} printable characters."
        raise Refused(Kind.INVALID_REQUEST, said, param="model_info.id")
    public, secret = divided(_set(body.litellm_params))
    return Model(id, body.model_name, public, None, info, bool(body.blocked)), secret


def changed(
    before: Model, secret: Mapping[str, Any], patch: ModelPatch, *, clears: bool
) -> tuple[Model, dict[str, Any]]:
    """The model with what the patch says in place of what it was, and what is secret of it.

    With `clears` null removes a parameter; a secret stays, because a client that does not know it sends null for it.
    """
    given = unmasked(patch.litellm_params or {}, secret)
    params = {**before.params, **secret, **_set(given)}
    if clears:
        for name in given:
            if given[name] is None and name not in secret:
                params.pop(name, None)
    info = {**before.info, **_known_info(patch.model_info or {})}
    public, kept = divided(params)
    model = before._replace(name=patch.model_name or before.name, params=public, info=_set(info) if clears else info)
    return (model if patch.blocked is None else model._replace(blocked=patch.blocked)), kept


def written(row: Row, secret: Mapping[str, Any]) -> dict[str, Any]:
    """A row as LiteLLM answers with it, what is secret masked."""
    model = row.model
    return {
        "model_id": model.id,
        "model_name": model.name,
        "litellm_params": {**model.params, **shown(secret)},
        "model_info": {**model.info, "id": model.id, "db_model": True},
        "blocked": model.blocked,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


def id_of(patch: ModelPatch) -> str:
    """Which model `/model/update` is about. Raises `Refused`."""
    id = (patch.model_info or {}).get("id")
    if not isinstance(id, str) or not id:
        raise Refused(Kind.INVALID_REQUEST, "model_info.id not provided", param="model_info.id")
    return id


def _known_info(info: Mapping[str, Any]) -> dict[str, Any]:
    if info.get("team_id") is not None:  # it would be everybody's, which nobody who sets this wants
        said = "Models of one team alone are not supported; give the team's keys a model group of its own."
        raise Refused(Kind.INVALID_REQUEST, said, param="model_info.team_id")
    return {name: value for name, value in info.items() if name not in _OURS}


def _set(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


_LONGEST_ID = 200
