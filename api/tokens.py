"""A JWT in place of a key: from the token to its `Access`, verified, looked up and remembered for a minute."""

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from msgspec import structs

from api.claims import Who, who
from api.signatures import Verified, verified
from api.signing_keys import SigningKeys
from ledger.directory import Directory
from schemas.access import Access, Role, Scope
from schemas.config import Jwt
from schemas.failures import Kind, Refused
from schemas.usage import Caller

Find = Callable[[str | None, str | None, str | None], Awaitable[Access]]
"""The access of (user, team, organization), as `ledger.access.find_user` has it."""

_KEPT_FOR = 60.0  # seconds
_MOST_KEPT = 10_000
_NOTHING = ("no-default-models",)
_OF_A_ROLE = (
    "info_routes",
    "management_routes",
    "self_managed_routes",
    "spend_tracking_routes",
    "internal_user_routes",
    "org_admin_allowed_routes",
    "global_spend_tracking_routes",
)
"""`team_allowed_routes` say which calls of models a team's token may make; the rest is what the user's role allows."""


@dataclass(slots=True)
class _Kept:
    """What is known of one verified token. `teams` are those it may act for; its accesses are made when asked for."""

    who: Who
    user: str | None
    organization: str | None
    teams: tuple[str, ...]
    expires: float
    until: float
    accesses: dict[str, Access] = field(default_factory=dict)


class Tokens:
    """Tokens of the configured issuers. `now` in seconds since the epoch."""

    def __init__(
        self,
        settings: Jwt,
        keys: SigningKeys,
        directory: Directory,
        find: Find,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._keys = keys
        self._directory = directory
        self._find = find
        self._now = now
        self._kept: dict[bytes, _Kept] = {}

    async def access_of(self, token: str, team: str = "", suits: Callable[[Access], bool] | None = None) -> Access:
        """The access behind a token. `team` is the client's choice (`x-litellm-team-id`) among the token's teams.

        Of several teams it is the first, or the first whose access `suits`; when none does, the first.
        Raises `Refused`: UNAUTHENTICATED, FORBIDDEN, or ISSUER_DOWN, LEDGER_DOWN while nothing can be looked up.
        """
        kept = await self._known(token)
        teams = kept.teams if not team else (await self._chosen(team, kept),)
        first = await self._access(kept, teams[0] if teams else "")
        if suits is None or suits(first):
            return first
        for other in teams[1:]:
            found = await self._access(kept, other)
            if suits(found):
                return found
        return first

    def forget(self, names: frozenset[str]) -> None:
        """What was remembered of these entities (`user:<id>`, `team:<id>` …) is void."""
        void = [
            digest
            for digest, kept in self._kept.items()
            if not names.isdisjoint(_depends(kept))
            or any(not names.isdisjoint(access.depends) for access in kept.accesses.values())
        ]
        for digest in void:
            del self._kept[digest]

    async def _known(self, token: str) -> _Kept:
        digest = hashlib.sha256(token.encode()).digest()
        kept = self._kept.get(digest)
        if kept is not None and self._now() < kept.until:
            return kept
        found = await verified(token, self._settings, self._keys, self._now())
        kept = await self._looked_up(found)
        self._kept.pop(digest, None)
        while len(self._kept) >= _MOST_KEPT:
            del self._kept[next(iter(self._kept))]
        self._kept[digest] = kept
        return kept

    async def _looked_up(self, found: Verified) -> _Kept:
        said = who(found.claims, self._settings, found.issuer.fields)
        user: str | None = said.user or None
        organization: str | None = said.organization or None
        teams: tuple[str, ...] = ()
        if not said.admin:
            user = await self._user(said)
            if said.organization_alias and not organization:
                organization = await self._directory.organization_called(said.organization_alias)
            teams = await self._teams(said, user)
            await self._synchronize(said, user, teams)
        until = min(found.expires, self._now() + _KEPT_FOR)
        return _Kept(said, user, organization, teams, found.expires, until)

    async def _user(self, said: Who) -> str | None:
        if not said.user:
            return None
        email = said.email if said.proved_email else ""  # nobody is found by another's, nor makes it ambiguous
        known = await self._directory.user(said.user, email)
        if known is not None:
            return known
        if not self._settings.user_upsert:
            raise Refused(
                Kind.UNAUTHENTICATED,
                f"Authentication Error, there is no user '{said.user}'. Make one with `/user/new`.",
                param="user_id",
            )
        await self._directory.add_user(said.user, email)
        return said.user

    async def _teams(self, said: Who, user: str | None) -> tuple[str, ...]:
        """The teams that the token may act for, the named one first. Raises `Refused` when it has none and must."""
        named = await self._named_team(said)
        found = dict.fromkeys([named] if named else [])
        found.update(dict.fromkeys(await self._directory.teams(said.teams) if said.teams else []))
        if not found:
            found.update(dict.fromkeys(await self._teams_of(said, user)))
        if not found and self._settings.team_needed:
            raise Refused(Kind.FORBIDDEN, "The token belongs to no team, and it must.")
        return tuple(found)

    async def _named_team(self, said: Who) -> str | None:
        settings = self._settings
        if said.team:
            if await self._directory.teams([said.team]):
                return said.team
            if settings.team_upsert:
                await self._directory.add_team(said.team)
                return said.team
            if settings.team_fallback:
                return None
            raise Refused(Kind.UNAUTHENTICATED, f"Authentication Error, there is no team '{said.team}'.")
        if said.team_alias:
            found = await self._directory.team_called(said.team_alias)
            if found is None and not settings.team_fallback:
                raise Refused(Kind.UNAUTHENTICATED, f"Authentication Error, there is no team '{said.team_alias}'.")
            return found
        return None

    async def _teams_of(self, said: Who, user: str | None) -> Iterable[str]:
        """Without a claim that leads to a team: the one that the user is in, or with `fallback_to_db_teams` all."""
        claimed = said.named_teams or said.team_alias
        if user is None or (claimed and not self._settings.team_fallback):
            return []
        teams = sorted((await self._find(user, None, None)).teams)
        return teams if self._settings.team_of_user or len(teams) == 1 else []

    async def _synchronize(self, said: Who, user: str | None, teams: tuple[str, ...]) -> None:
        if user is None:
            return
        if said.role is not None:
            await self._directory.set_role(user, said.role.value)
        if self._settings.role_sync and (said.named_teams or said.team_alias):
            await self._directory.join(user, teams, leave_others=True)
        elif self._settings.user_joins_team and teams:
            await self._directory.join(user, teams[:1])

    async def _chosen(self, team: str, kept: _Kept) -> str:
        """The team's id. An alias may be given too."""
        if team in kept.teams:
            return team
        found = await self._directory.team_called(team)
        if found is None or found not in kept.teams:
            raise Refused(Kind.FORBIDDEN, f"The token does not belong to the team '{team[:200]}'.")
        return found

    async def _access(self, kept: _Kept, team: str) -> Access:
        found = kept.accesses.get(team)
        if found is None:
            found = kept.accesses[team] = await self._made(kept, team)
        return found

    async def _made(self, kept: _Kept, team: str) -> Access:
        said = kept.who
        if said.admin:
            caller = Caller(user=kept.user or "", organization=kept.organization or "", end_user=said.end_user)
            routes = self._settings.admin_routes
            return Access(caller=caller, role=Role.ADMIN, routes=routes, expires=kept.expires)
        access = await self._find(kept.user, team or None, kept.organization)
        models = () if said.models is None else (Scope("user", said.models or _NOTHING),)
        role = _role(access.role, kept.user)
        return structs.replace(
            access,
            caller=structs.replace(access.caller, end_user=said.end_user),
            role=role,
            routes=self._routes(role, team),
            scopes=(*access.scopes, *models),
            expires=kept.expires,
            depends=access.depends | _depends(kept),
        )

    def _routes(self, role: Role, team: str) -> tuple[str, ...]:
        if role is Role.TEAM:
            return self._settings.team_routes
        if not team or role in (Role.ADMIN, Role.VIEWER):
            return ()
        return (*self._settings.team_routes, *_OF_A_ROLE)


def _role(stored: Role, user: str | None) -> Role:
    """A user without a stored role is an internal user; a token without a user is its team's."""
    if user is None:
        return Role.TEAM
    return Role.USER if stored is Role.NONE else stored


def _depends(kept: _Kept) -> frozenset[str]:
    names = [("user", kept.user), ("organization", kept.organization), *(("team", team) for team in kept.teams)]
    return frozenset(f"{kind}:{name}" for kind, name in names if name)
