"""Which deployments of a group may serve a request at all: tags, and the context window."""

from collections.abc import Callable, Sequence

from schemas.config import Deployment, Routing
from schemas.failures import Kind, Refused

_DEFAULT = "default"


def tagged(deployments: Sequence[Deployment], tags: Sequence[str], routing: Routing) -> tuple[Deployment, ...]:
    """Those that a request with these tags may use. Raises `Refused(FORBIDDEN)` when there is none.

    A tag asks for a deployment that has it (any of them, or all where `tags_match_any` is off), `&tag` demands it,
    `!tag` excludes. Without tags it is those tagged `default`, else all; they also serve tags that nobody has.
    """
    if not routing.tag_filtering:
        return tuple(deployments)
    demanded = {tag[1:] for tag in tags if tag.startswith("&")}
    excluded = {tag[1:] for tag in tags if tag.startswith("!")}
    asked = {tag for tag in tags if not tag.startswith(("&", "!"))}
    left = [d for d in deployments if demanded <= set(d.tags) and not excluded & set(d.tags)]
    defaults = tuple(d for d in left if _DEFAULT in d.tags)
    if not asked:
        found = defaults or tuple(left)
    else:
        match = asked.intersection if routing.tags_match_any else asked.issubset
        found = tuple(d for d in left if match(d.tags)) or defaults
    if not found:
        raise Refused(Kind.FORBIDDEN, "No deployment of this model serves the request's tags.", param="tags")
    return found


def fitting(
    deployments: Sequence[Deployment], prompt: int, window: Callable[[Deployment], int | None]
) -> tuple[Deployment, ...]:
    """Those whose context window takes a prompt of about so many tokens. Raises `Refused(CONTEXT_WINDOW)`."""
    found = tuple(d for d in deployments if (size := window(d)) is None or prompt <= size)
    if not found:
        raise Refused(
            Kind.CONTEXT_WINDOW,
            f"The prompt has about {prompt} tokens, more than the context window of any deployment of this model.",
            param="messages",
        )
    return found
