"""`GET /v1/models`: the model groups that a client may name, and the access groups that its key is given them by."""

from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from msgspec import structs
from pydantic import BaseModel

from api.management.fields import Name
from api.management.office import Office, forbidden, missing, present
from api.model_access import may_name
from ledger import tenants
from policy.allowed import denied_by
from schemas.access import Access, Scope
from schemas.catalog import Catalog
from schemas.failures import Kind, Refused

_CREATED = 1_677_610_602  # models here have no birthday; LiteLLM's constant


class Wanted(BaseModel):
    """The query of `/v1/models`, LiteLLM's; what it has beside these changes nothing.

    `scope=expand` shows all there is to those who see everything or administer a team or an organization.
    """

    include_model_access_groups: bool = False
    only_model_access_groups: bool = False
    return_wildcard_routes: bool = True
    team_id: Name | None = None
    scope: Literal["expand"] | None = None

    def names(self, access: Access, known: Catalog) -> Iterator[str]:
        """What is listed, each name once."""
        if not self.only_model_access_groups:
            for name in dict.fromkeys([*access.aliases, *known.listing()]):
                if ("*" not in name or self.return_wildcard_routes) and may_name(access, name, known):
                    yield name
        if self.only_model_access_groups or self.include_model_access_groups:
            yield from (group for group in _access_groups(known) if _is_given(access, group))


def routes(catalog: Callable[[], Catalog], admit: Callable[..., Any]) -> APIRouter:
    """The model routes, with and without `/v1`; `catalog` gives the present one, `admit` the caller's `Access`."""
    router = APIRouter(tags=["models"])
    caller = Depends(admit)

    @router.get("/v1/models")
    @router.get("/models", include_in_schema=False)
    async def models(
        request: Request, wanted: Annotated[Wanted, Query()], access: Annotated[Access, caller]
    ) -> dict[str, Any]:
        """Every model group that the key may name, OpenAI's list shape."""
        if wanted.team_id is not None:
            access = await _of_team(present(request).office, access, wanted.team_id)
        elif wanted.scope and (access.reads_all or access.admin_of_teams or access.admin_of_organizations):
            access = structs.replace(access, scopes=())
        found = dict.fromkeys(wanted.names(access, catalog()))
        return {"object": "list", "data": [_entry(name) for name in found]}

    @router.get("/v1/models/{model:path}")
    @router.get("/models/{model:path}", include_in_schema=False)
    async def model(
        request: Request, model: str, access: Annotated[Access, caller], team_id: Name | None = None
    ) -> dict[str, Any]:
        """One model group, or a 404."""
        if team_id is not None:
            access = await _of_team(present(request).office, access, team_id)
        if not may_name(access, model, catalog()):
            raise Refused(Kind.UNKNOWN_MODEL, f"The model '{model[:200]}' does not exist.", param="model")
        return _entry(model)

    return router


async def _of_team(office: Office, access: Access, team_id: str) -> Access:
    """The access with a team's models in place of the key's own, which stay with those of the key's own team.

    Raises `Refused`: FORBIDDEN for a team that the caller may not see, NOT_FOUND for one that is not there.
    """
    if team_id == access.caller.team:
        return access
    with office.reading() as pool:
        team = await tenants.find(pool, tenants.TEAMS, team_id)
    if team is None and access.reads_all:
        raise missing("team", team_id)
    if team is None or not access.reads_team(team_id, team["organization_id"]):
        raise forbidden(f"list the models of the team '{team_id}'")
    scopes = (Scope("team", tuple(team["models"])),) if team["models"] else ()
    return structs.replace(access, scopes=scopes, aliases=team["extra"].get("model_aliases") or {})


def _access_groups(known: Catalog) -> Iterator[str]:
    return (group for found in known.groups.values() for deployment in found for group in deployment.access_groups)


def _is_given(access: Access, group: str) -> bool:
    """Whether the key has all the models of an access group by its name, or all there are."""
    return denied_by(access.scopes, frozenset((group,)), frozenset()) is None


def _entry(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED, "owned_by": "penstock"}
