"""Which models a request may name: what its key, team, user, organization and end user allow together."""

from collections.abc import Sequence

from ledger.access import Payer
from policy.allowed import denied_by
from schemas.access import Access, Scope
from schemas.catalog import Catalog, Resolution
from schemas.failures import Kind, Refused

_KINDS = {
    "key": Kind.KEY_MODEL,
    "team": Kind.TEAM_MODEL,
    "member": Kind.TEAM_MODEL,
    "user": Kind.USER_MODEL,
    "organization": Kind.ORG_MODEL,
    "customer": Kind.CUSTOMER_MODEL,
}


MODEL_DENIED = frozenset(_KINDS.values())
"""The kinds of failure that say that a model may not be named."""


def scopes_of(access: Access, beside: Sequence[Payer]) -> tuple[Scope, ...]:
    """What limits the models of a request; () is nothing."""
    more = tuple(payer.scope for payer in beside if payer.scope.models)
    return access.scopes + more if more else access.scopes


def denied(scopes: tuple[Scope, ...], name: str, found: Resolution) -> str | None:
    """The kind of the scope that does not allow what `name` means, or None."""
    if not scopes:
        return None
    groups = frozenset(group for deployment in found.deployments for group in deployment.access_groups)
    return denied_by(scopes, frozenset((name, found.group, found.model)), groups)


def check_model(scopes: tuple[Scope, ...], name: str, found: Resolution) -> None:
    """Raises `Refused` (a 403) when the model is not allowed."""
    kind = denied(scopes, name, found)
    if kind is not None:
        said = (
            f"The requested model '{name[:200]}' is not available for this API key, or the model name is invalid. "
            "Check the models available to you and try again."
        )
        raise Refused(_KINDS[kind], said, param="model")


def may_name(access: Access, name: str, catalog: Catalog) -> bool:
    """Whether there is such a model, and the key may name it."""
    meant = access.aliases.get(name, name)
    found = catalog.resolve(meant)
    return found is not None and denied(access.scopes, meant, found) is None
