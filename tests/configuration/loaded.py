"""Loads a configuration from text, with a fixed set of providers."""

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent

import pytest

from penstock.configuration.loading import load
from penstock.configuration.problems import ConfigurationError
from penstock.configuration.providers import Providers
from schemas.config import Config, Deployment
from workers.providers.port import About

PROVIDERS = Providers(
    [
        About(("openai",), "https://api.openai.com/v1", ("OPENAI_API_KEY",), ("OPENAI_BASE_URL", "OPENAI_API_BASE")),
        About(("custom_openai",), None, ("OPENAI_API_KEY",)),
        About(("anthropic",), "https://api.anthropic.com", ("ANTHROPIC_API_KEY",), ("ANTHROPIC_API_BASE",)),
        About(("ollama", "ollama_chat"), "http://localhost:11434", ("OLLAMA_API_KEY",), ("OLLAMA_API_BASE",)),
        About(("groq",), "https://api.groq.com/openai/v1", ("GROQ_API_KEY",)),
        About(("fireworks_ai",), "https://api.fireworks.ai/v1", ("FIREWORKS_API_KEY", "FIREWORKS_AI_API_KEY")),
        About(("demo",)),
    ]
)


def write(directory: Path, text: str, name: str = "config.yaml") -> Path:
    path = directory / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dedent(text).lstrip("\n"), encoding="utf-8")
    return path


def config(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> Config:
    return load(write(directory, text), environ or {}, PROVIDERS)


def errors(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The error lines, with the directory taken off."""
    with pytest.raises(ConfigurationError) as caught:
        config(directory, text, environ)
    assert str(caught.value) == "\n".join(caught.value.lines)
    return [line.replace(f"{directory}/", "") for line in caught.value.lines]


def warnings(directory: Path, text: str, environ: Mapping[str, str] | None = None) -> list[str]:
    """The warnings, with the directory taken off."""
    return [line.replace(f"{directory}/", "") for line in config(directory, text, environ).warnings]


def deployment(directory: Path, params: str, environ: Mapping[str, str] | None = None) -> Deployment:
    """The one deployment with these `litellm_params`, in flow style."""
    text = f"model_list: [{{model_name: g, litellm_params: {{{params}}}}}]\n"
    (only,) = config(directory, text, environ).deployments
    return only
