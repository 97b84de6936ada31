"""LiteLLM's own client for keys, and its command line, against the server in argv; what they say, as JSON.

In a process of its own: LiteLLM takes seconds to import, and leaves its connections to the garbage collector.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from click.testing import CliRunner
from litellm.proxy import client
from litellm.proxy.client.exceptions import UnauthorizedError
from litellm.proxy.client.keys import KeysManagementClient

# Only LiteLLM's `proxy` extra has what its command line imports for its other commands: past that to this one's file.
package = ModuleType("litellm.proxy.client.cli")
package.__path__ = [str(Path(client.__file__).parent / "cli")]
sys.modules[package.__name__] = package
from litellm.proxy.client.cli.commands.keys import keys as command  # noqa: E402

BASE, KEY = sys.argv[1:]


def run(*words: str) -> str:
    """What `litellm-proxy keys …` prints. Raises `RuntimeError` when it ends with an error."""
    done = CliRunner().invoke(command, words, obj={"base_url": BASE, "api_key": KEY})
    if done.exit_code != 0:
        raise RuntimeError(done.output)
    return done.output


def client_calls() -> dict[str, Any]:
    """Every method of the client."""
    keys = KeysManagementClient(BASE, KEY)
    made: Any = keys.generate(
        models=["m"],
        aliases={"a": "m"},
        spend=1.5,
        duration="24h",
        key_alias="first",
        user_id="u",
        config={"x": 1},
    )
    updated = keys.update(made["key"], models=["n"], spend=0.5, duration="7d", key_alias="second", user_id="v")
    listed = keys.list(page=1, size=5, key_alias="second", return_full_object=True, include_team_keys=False)
    told = keys.info(made["key"])
    deleted = keys.delete(keys=[made["key"]])
    try:
        KeysManagementClient(BASE, "sk-wrong").list()
    except UnauthorizedError:
        refused = True
    else:
        refused = False
    return {
        "made": made,
        "updated": updated,
        "listed": listed,
        "told": told,
        "deleted": deleted,
        "refused": refused,
    }


def command_line() -> dict[str, Any]:
    """Every command."""
    made = json.loads(run("generate", "--models", "m,n", "--key-alias", "cli", "--duration", "1h", "--spend", "2"))
    table = run("list")
    listed = json.loads(run("list", "--format", "json", "--key-alias", "cli"))
    imported = run("import", "--source-base-url", BASE, "--source-api-key", KEY, "--dry-run")
    deleted = json.loads(run("delete", "--key-aliases", "cli"))
    return {"made": made, "table": table, "listed": listed, "imported": imported, "deleted": deleted}


print(json.dumps({"client": client_calls(), "cli": command_line()}))
