"""The models of an Ollama that happens to run: what `serve` offers without a configuration file."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import httpx

from schemas.config import Config, Deployment, PriceOverride

LOCAL = "http://localhost:11434"
PATIENCE = 1.0  # seconds: a start must not wait for what is not there
_LARGEST = 2 * 2**20
_FREE = PriceOverride(input=Decimal(0), output=Decimal(0))
_LOG = logging.getLogger("penstock.discovery")


async def with_ollama(config: Config, environ: Mapping[str, str], patience: float = PATIENCE) -> Config:
    """The configuration with each model of the Ollama at `OLLAMA_API_BASE` or on this machine added.

    Each is a group under its own name and as `ollama/<name>`; a name that is taken stays what it is. No Ollama, or
    one that answers anything else, or nothing within `patience` seconds, changes nothing.
    """
    base = address(environ)
    return joined(config, tuple(_deployments(await tags(base, patience), base)))


def joined(config: Config, discovered: Iterable[Deployment]) -> Config:
    """The configuration with those of the discovered deployments whose name is not taken."""
    taken = {deployment.group for deployment in config.deployments} | set(config.aliases)
    found = tuple(deployment for deployment in discovered if deployment.group not in taken)
    return config.model_copy(update={"deployments": (*config.deployments, *found)}) if found else config


def address(environ: Mapping[str, str]) -> str:
    """Where Ollama is expected; `OLLAMA_API_BASE` may leave the scheme out."""
    base = environ.get("OLLAMA_API_BASE", "").strip().rstrip("/") or LOCAL
    return base if "://" in base else f"http://{base}"


async def tags(base: str, patience: float = PATIENCE) -> tuple[str, ...]:
    """The names that `GET /api/tags` lists; none when nobody answers as Ollama does within `patience` seconds."""
    # in a thread, and certificates only where they are needed: loading them takes a moment;
    # trust_env: a proxy for the outside must not be asked for what runs on this machine
    client = await asyncio.to_thread(httpx.AsyncClient, trust_env=False, verify=base.startswith("https:"))
    async with client:
        try:
            async with asyncio.timeout(patience):
                return await _names(client, base)
        except (httpx.HTTPError, httpx.InvalidURL, OSError, TimeoutError, ValueError) as error:
            _LOG.debug("no Ollama answers: %s", type(error).__name__)
            return ()


async def _names(client: httpx.AsyncClient, base: str) -> tuple[str, ...]:
    async with client.stream("GET", f"{base}/api/tags") as response:
        response.raise_for_status()
        body = b""
        async for part in response.aiter_bytes():  # to its end: leaving early would leave httpx's generators open
            body += part if len(body) <= _LARGEST else b""
    if len(body) > _LARGEST:
        raise ValueError("too long")
    return _listed(httpx.Response(200, content=body).json())


def _listed(answer: Any) -> tuple[str, ...]:
    models = answer.get("models") if isinstance(answer, dict) else None
    if not isinstance(models, list):
        return ()
    names = (model.get("name") for model in models if isinstance(model, dict))
    return tuple(dict.fromkeys(name for name in names if isinstance(name, str) and name and "*" not in name))


def _deployments(names: Iterable[str], base: str) -> Iterable[Deployment]:
    for name in names:
        short = name.removesuffix(":latest")
        for group in dict.fromkeys((short, name, f"ollama/{short}", f"ollama/{name}")):
            yield Deployment(
                id=f"discovered-{group}",
                group=group,
                provider="ollama",
                model=name,
                litellm_model=f"ollama/{name}",
                api_base=base,
                price=_FREE,
            )
