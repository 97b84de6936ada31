"""`/key/*`: virtual keys."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from api.management.keys import bulk, changing, ending, issuing, reading, rotating
from api.management.keys.bodies import ChangedKey, NewKey, One, Reset, RotatedKey, Which
from api.management.keys.bulk import ManyChanges, TeamChange
from api.management.keys.desk import Working
from api.management.keys.reading import KeyQuery, Page, Size, Text
from api.management.keys.rights import Act
from api.management.office import answer

ROUTER = APIRouter(tags=["keys"])


@ROUTER.post("/key/generate")
async def generate(work: Working, body: NewKey | None = None) -> Response:
    """A new key. Its secret is in `key`, this once."""
    return answer(await issuing.issue(work, body or NewKey()))


@ROUTER.post("/key/service-account/generate")
async def generate_for_service(work: Working, body: NewKey) -> Response:
    """A new key of a team, with no user behind it."""
    return answer(await issuing.issue(work, body, Act.SERVICE))


@ROUTER.post("/key/update")
async def update(work: Working, body: ChangedKey) -> Response:
    """Change the fields that are given, null included; the key."""
    return answer(await changing.update(work, body))


@ROUTER.post("/key/bulk_update")
async def bulk_update(work: Working, body: ManyChanges) -> Response:
    """Change many keys, each on its own: what was changed, and what could not be and why."""
    return answer(await bulk.update(work, body))


@ROUTER.post("/team/key/bulk_update")
async def bulk_update_of_team(work: Working, body: TeamChange) -> Response:
    """Change many keys of a team alike, or all that are in use."""
    return answer(await bulk.update_team(work, body))


@ROUTER.post("/key/delete")
async def delete(work: Working, body: Which) -> Response:
    """Remove keys, by themselves or by their aliases."""
    return answer(await ending.delete(work, body))


@ROUTER.post("/key/regenerate")
async def regenerate(work: Working, body: RotatedKey) -> Response:
    """A new secret for the key that the body names; the old one works for `grace_period`."""
    return answer(await rotating.regenerate(work, body))


@ROUTER.post("/key/{key:path}/regenerate")
async def regenerate_named(key: str, work: Working, body: RotatedKey | None = None) -> Response:
    """A new secret for this key; the old one works for `grace_period`."""
    return answer(await rotating.regenerate(work, body or RotatedKey(), key))


@ROUTER.post("/key/{key:path}/reset_spend")
async def reset_spend(key: str, work: Working, body: Reset) -> Response:
    """Say what the key has spent: less than it has."""
    return answer(await ending.reset_spend(work, key, body))


@ROUTER.post("/key/block")
async def block(work: Working, body: One) -> Response:
    """The key is refused from now on."""
    return answer(await changing.set_blocked(work, body, True))


@ROUTER.post("/key/unblock")
async def unblock(work: Working, body: One) -> Response:
    """The key may be used again."""
    return answer(await changing.set_blocked(work, body, False))


@ROUTER.post("/key/health")
async def health(work: Working) -> Response:
    """Whether the caller's key is set up well."""
    return answer(await reading.health(work))


@ROUTER.get("/key/info")
async def info(work: Working, key: Annotated[str | None, Query(max_length=300)] = None) -> Response:
    """All about a key: by itself, its SHA-256 or its id; the caller's own without any."""
    return answer(await reading.info(work, key or None))


@ROUTER.post("/v2/key/info")
async def infos(work: Working, body: Which) -> Response:
    """All about several keys, those that the caller may see."""
    return answer(await reading.infos(work, body))


@ROUTER.get("/key/list")
async def listing(work: Working, asked: Annotated[KeyQuery, Query()]) -> Response:
    """A page of the keys that the caller may see: their ids, or all of each with `return_full_object`."""
    return answer(await reading.listing(work, asked))


@ROUTER.get("/key/aliases")
async def aliases(
    work: Working, page: Page = 1, size: Size = 50, search: Text = None, team_id: Text = None
) -> Response:
    """A page of the aliases of keys that the caller may see, in alphabetical order."""
    return answer(await reading.aliases(work, search or None, team_id or None, page, size))
