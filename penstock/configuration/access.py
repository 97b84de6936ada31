"""`AccessSettings`: who is let in from where, to which routes, and with which tokens."""

from collections.abc import Iterator, Mapping
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

from penstock.configuration import values
from penstock.configuration.environment import Environment
from penstock.configuration.known import words
from penstock.configuration.masterkey import is_loopback
from penstock.configuration.problems import Place, Problems, Wrong
from penstock.configuration.source import Node
from penstock.configuration.values import Parse, Section
from schemas.access import Role
from schemas.config import AccessSettings, ClaimFields, Issuer, Jwt

DISCOVERY = "/.well-known/openid-configuration"
_JWT = "general_settings.litellm_jwtauth"
_MAPPED = (Role.ADMIN, Role.TEAM, Role.USER)  # what `role_mappings` may lead to


def read_access(general: Section, litellm: Section, environment: Environment, problems: Problems) -> AccessSettings:
    """The whole of it; takes what it understands out of both sections."""
    taken = {field: general.take(key, parse) for field, (key, parse) in KEYS.items()}
    enabled = general.take("enable_jwt_auth", values.flag)
    section = general.take("litellm_jwtauth", lambda node: Section(node, problems))
    if enabled:
        section = section or Section(Node({}, Place(_JWT, 0)), problems)
        taken["jwt"] = _Tokens(section, environment, problems).read()
    elif section is not None:
        problems.warn(section.node.place, "has no effect without general_settings.enable_jwt_auth: true")
    if litellm.take("store_audit_logs", values.flag) is False:
        problems.warn("litellm_settings.store_audit_logs", "the audit log is always kept")
    if taken["use_forwarded"] and not taken["trusted_proxies"]:
        problems.warn(
            "general_settings.use_x_forwarded_for",
            "has no effect without trusted_proxy_ranges: anybody can write that header",
        )
    return AccessSettings(**{field: value for field, value in taken.items() if value is not None})


def _networks(node: Node) -> tuple[str, ...]:
    found = values.words(node)
    for text in found:
        try:
            ip_network(text.strip(), strict=False)
        except ValueError:
            raise Wrong(f'an address or a network like 10.0.0.0/8 is wanted, not "{text[:40]}"') from None
    return found


KEYS: Mapping[str, tuple[str, Parse[Any]]] = {
    "allowed_ips": ("allowed_ips", _networks),
    "trusted_proxies": ("trusted_proxy_ranges", _networks),
    "use_forwarded": ("use_x_forwarded_for", values.flag),
    "allowed_routes": ("allowed_routes", values.names),
    "admin_only_routes": ("admin_only_routes", values.names),
    "public_routes": ("public_routes", values.names),
    "record_addresses": ("disable_requester_ip_address_logging", lambda node: not values.flag(node)),
    "enforced_params": ("enforced_params", values.names),
}
"""A field of `AccessSettings` -> its key in `general_settings`, and what is wanted there."""

JWT_KEYS: Mapping[str, tuple[str, Parse[Any]]] = {
    "key_ttl": ("public_key_ttl", values.duration),
    "key_stale_ttl": ("public_key_stale_ttl", values.seconds),
    "leeway": ("leeway", values.seconds),
    "admin_scope": ("admin_jwt_scope", values.text),
    "admin_routes": ("admin_allowed_routes", values.names),
    "team_routes": ("team_allowed_routes", values.names),
    "team_default": ("team_id_default", values.text),
    "team_upsert": ("team_id_upsert", values.flag),
    "team_fallback": ("team_claim_fallback", values.flag),
    "team_needed": ("enforce_team_based_model_access", values.flag),
    "team_of_user": ("fallback_to_db_teams", values.flag),
    "user_upsert": ("user_id_upsert", values.flag),
    "user_joins_team": ("upsert_sso_user_to_team", values.flag),
    "email_domain": ("user_allowed_email_domain", values.text),
    "user_roles": ("user_allowed_roles", lambda node: frozenset(values.names(node))),
    "role_needed": ("enforce_rbac", values.flag),
    "role_sync": ("sync_user_role_and_teams", values.flag),
}
"""A field of `Jwt` -> its key in `litellm_jwtauth`, and what is wanted there."""

FIELD_KEYS = {field: f"{field}_jwt_field" for field in ClaimFields.model_fields}
VARIABLES = {"public_key_url": "JWT_PUBLIC_KEY_URL", "audience": "JWT_AUDIENCE", "issuer": "JWT_ISSUER"}
"""Keys of `litellm_jwtauth` that LiteLLM has as variables only; the file wins."""

_NARROWER = words("custom_validate virtual_key_claim_field jwt_client_id_field agent_id_jwt_field")
"""What would refuse some tokens in LiteLLM: to leave it out would let them in."""
_NOT_YET = words(
    """auto_register_map_existing_key mcp_client_id_jwt_field oidc_userinfo_cache_ttl oidc_userinfo_enabled
    oidc_userinfo_endpoint public_allowed_routes routing_overrides unregistered_jwt_client_behavior
    virtual_key_mapping_cache_ttl"""
)


class _Tokens:
    """Reads `litellm_jwtauth`."""

    def __init__(self, section: Section, environment: Environment, problems: Problems) -> None:
        self._section = section
        self._environment = environment
        self._problems = problems
        self._place = section.node.place

    def read(self) -> Jwt:
        """The settings; what is wrong or missing is told to the problems."""
        section = self._section
        taken = {field: section.take(key, parse) for field, (key, parse) in JWT_KEYS.items()}
        taken["role_mappings"] = section.take("role_mappings", self._pairs("role", "internal_role", _MAPPED))
        taken["role_map"] = section.take("jwt_litellm_role_map", self._pairs("jwt_role", "litellm_role", tuple(Role)))
        taken["scope_models"] = self._scopes()
        taken["issuers"] = tuple(self._issuers(_fields(section)))
        for key in sorted(_NARROWER & section.rest().keys()):
            self._problems.error(section.rest()[key].place, "not supported: without it more tokens would be taken")
        section.report(_NOT_YET | _NARROWER, _JWT)
        return Jwt(**{field: value for field, value in taken.items() if value is not None})

    def _scopes(self) -> tuple[tuple[str, tuple[str, ...]], ...] | None:
        found = self._section.take("scope_mappings", self._scope_mappings)
        return found if self._section.take("enforce_scope_based_access", values.flag) else None

    def _scope_mappings(self, node: Node) -> tuple[tuple[str, tuple[str, ...]], ...]:
        found = []
        for row in self._rows(node):
            scope, models = row.take("scope", values.text), row.take("models", values.names)
            row.report({"routes"}, f"{_JWT}.scope_mappings[]")
            if scope is None:
                raise Wrong("each entry needs a scope")
            found.append((scope, models or ()))
        return tuple(found)

    def _pairs(self, left: str, right: str, roles: tuple[Role, ...]) -> Parse[tuple[tuple[str, str], ...]]:
        def parse(node: Node) -> tuple[tuple[str, str], ...]:
            found = []
            for row in self._rows(node):
                given, meant = row.take(left, values.text), row.take(right, values.text)
                row.report((), f"{_JWT}.*[]")
                if given is None or meant not in {role.value for role in roles if role}:
                    allowed = ", ".join(role for role in roles if role)
                    raise Wrong(f"each entry needs {left} and {right}, which is one of {allowed}")
                found.append((given, meant))
            return tuple(found)

        return parse

    def _rows(self, node: Node) -> Iterator[Section]:
        if not isinstance(node.value, list):
            raise Wrong(f"a list is wanted, not {values.shown(node)}")
        for row in node.value:
            yield Section(row, self._problems)

    def _issuers(self, fields: ClaimFields) -> Iterator[Issuer]:
        rows = self._section.take("issuers", lambda node: list(self._rows(node))) or []
        for row in rows:
            found = self._issuer(row, fields)
            if found is not None:
                yield found
        name = self._either("issuer", values.text)
        urls = self._either("public_key_url", _addresses) or (() if name is None else (_discovery(name),))
        audiences = self._either("audience", values.words) or ()
        if not urls:
            if not rows:
                variables = " or ".join((VARIABLES["public_key_url"], VARIABLES["issuer"]))
                self._problems.error(self._place, f"tokens need {variables}, where the issuer's keys are")
            return
        if not audiences:
            self._problems.warn(
                self._place, "no JWT_AUDIENCE: tokens that the issuer has made for other applications are taken too"
            )
        self._judge(self._place, urls)
        yield Issuer(name=name, key_urls=urls, audiences=audiences, fields=fields)

    def _issuer(self, row: Section, fields: ClaimFields) -> Issuer | None:
        name, urls = row.take("issuer", values.text), row.take("jwks_url", _addresses)
        audiences = row.take("audience", values.words) or ()
        unchecked = row.take("disable_audience_validation", values.flag)
        own = _fields(row)
        row.report(_NOT_YET | _NARROWER, f"{_JWT}.issuers[]")
        if name is None or bool(audiences) == bool(unchecked):
            self._problems.error(
                row.node.place, "issuer is needed, and audience or disable_audience_validation: true, not both"
            )
            return None
        urls = urls or (_discovery(name),)
        self._judge(row.node.place, urls)
        merged = fields.model_dump() | own.model_dump(exclude_none=True)
        return Issuer(name=name, key_urls=urls, audiences=audiences, fields=ClaimFields(**merged))

    def _either(self, key: str, parse: Parse[Any]) -> Any:
        """The file's, else the variable's."""
        found = self._section.take(key, parse)
        text = self._environment.get(VARIABLES[key])
        if found is not None or text is None:
            return found
        try:
            return parse(Node(text, Place(VARIABLES[key], 0), text, VARIABLES[key]))
        except Wrong as wrong:
            self._problems.error(VARIABLES[key], str(wrong))
            return None

    def _judge(self, place: Place, urls: tuple[str, ...]) -> None:
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
                self._problems.warn(place, f"keys are fetched from {parts.hostname} without TLS")


def _fields(section: Section) -> ClaimFields:
    return ClaimFields(**{field: section.take(key, values.text) for field, key in FIELD_KEYS.items()})


def _addresses(node: Node) -> tuple[str, ...]:
    found = values.words(node)
    if not found or any(urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname for url in found):
        raise Wrong("one or more URLs with http:// or https:// are wanted")
    return found


def _discovery(issuer: str) -> str:
    return issuer.rstrip("/") + DISCOVERY
