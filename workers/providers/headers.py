"""Which of the provider's headers a client may see, and under which names."""

from collections.abc import Mapping

_SHOWN = frozenset(
    {
        "request-id",
        "x-request-id",
        "openai-processing-ms",
        "openai-version",
        "openai-model",
        "openai-organization",
        "cf-ray",
        "x-groq-region",
    }
)
_LIMITS = ("x-ratelimit-", "anthropic-ratelimit-")


def shown(headers: Mapping[str, str]) -> dict[str, str]:
    """Facts of the provider worth showing to a client: its limits as they came, the rest as `llm_provider-…`.

    A value with control characters, or that was no text (aiohttp then puts surrogates), cannot be sent on and is not.
    """
    found = {}
    for name, value in headers.items():
        if not value.isprintable():
            continue
        if name.startswith(_LIMITS):
            found[name] = value
        elif name in _SHOWN:
            found["llm_provider-" + name] = value
    return found
