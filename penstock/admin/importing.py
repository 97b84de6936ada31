"""`penstock admin import litellm`: a database of LiteLLM's proxy, carried over into Penstock's."""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast
from zoneinfo import ZoneInfo

import click

from broker.seal import Seal
from ledger.litellm.ciphers import Cipher, MissingPackage
from ledger.litellm.importing import Order, carry_over
from ledger.litellm.report import Report
from ledger.litellm.source import opened
from ledger.litellm.values import Calendar
from ledger.models import Model
from ledger.pepper import Pepper, pepper
from ledger.pool import FAILED, Connection, Pool, described
from penstock.admin.running import AS_JSON, CONFIG, config, database, ledger, run, show
from penstock.admin.telling import tell
from penstock.configuration.database import normalised
from penstock.configuration.environment import Environment
from penstock.configuration.loading import Written, build, read
from penstock.configuration.problems import ConfigurationError, Wrong
from penstock.configuration.stored import entry, sealed, unsealed
from policy.periods import window
from schemas.config import Config

_PROMPT = "prompt"
_NAMED = 10  # rows that a remark names in the table


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What the command line says."""

    source: str
    cipher: Cipher | None
    overwrite: bool
    dry_run: bool
    logs_since: datetime | None


@click.group("import")
def import_group() -> None:
    """Carry another product's data over."""


@import_group.command("litellm")
@CONFIG
@AS_JSON
@click.option("--database-url", "source", required=True, help="LiteLLM's database, which is only read.")
@click.option(
    "--salt-key",
    help="What LiteLLM has encrypted its provider keys with; `prompt` asks for it. Else LITELLM_SALT_KEY or the file "
    "that LITELLM_SALT_KEY_FILE names, and without them the master key, as in LiteLLM.",
)
@click.option("--overwrite", is_flag=True, help="Also put back what was changed or deleted here since.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@click.option("--spend-logs", is_flag=True, help="Also single calls, of all that --since includes.")
@click.option("--since", type=click.DateTime(["%Y-%m-%d"]), help="With --spend-logs: the first day, UTC.")
def litellm_command(
    path: Path | None, as_json: bool, source: str, salt_key: str | None, spend_logs: bool, **options: Any
) -> None:
    """Keys, teams, users, organizations, customers, budgets, tags, models and spend of a LiteLLM database.

    The keys work here as they are. It can be done again: what has changed there is brought over, what was changed here
    stays, and nothing is counted twice.

    \b
    Examples:
        penstock admin import litellm --database-url postgresql://litellm:...@db/litellm --dry-run
        penstock admin import litellm --database-url postgresql://litellm:...@db/litellm --salt-key prompt
        penstock admin import litellm --database-url postgresql://litellm:...@db/litellm --spend-logs --since 2026-11-01
    """
    found = config(path)
    try:
        url, _ = normalised(source)
    except Wrong as wrong:
        raise click.ClickException(f"--database-url {wrong}") from None
    since: datetime | None = options.pop("since")
    if spend_logs != (since is not None):
        raise click.UsageError("--spend-logs and --since go together")
    logs_since = None if since is None else since.replace(tzinfo=UTC)
    dry_run: bool = options["dry_run"]
    wanted = _Wanted(url, _cipher(found, salt_key), logs_since=logs_since, **options)
    report = run(_import(found, path, wanted))
    if as_json:
        click.echo(json.dumps({"dry_run": dry_run, **_told(report)}, indent=2))
    else:
        _print(report, dry_run=dry_run)


async def _import(of: Config, path: Path | None, wanted: _Wanted) -> Report:
    salt = of.settings.salt_key
    seal = None if salt is None else Seal(salt.get_secret_value())
    zone = ZoneInfo(of.tenants.timezone)

    async def peppered(on: Connection) -> Pepper:
        return await pepper(cast(Pool, on), seal)  # in the transaction of a dry run, which a pool would not be

    order = Order(
        pepper=peppered,
        calendar=Calendar(datetime.now(UTC), lambda period, now: window(period, now, zone)),
        cipher=wanted.cipher,
        vault=_Vault(seal, read(path)),
        tell=lambda done: click.echo(f"{done} done", err=True),
        logs_since=wanted.logs_since,
        overwrite=wanted.overwrite,
        dry_run=wanted.dry_run,
    )
    async with ledger(database(of), size=2) as pool:
        try:
            async with opened(wanted.source) as source, pool.acquire() as on:
                report = await carry_over(source, on, order)
        except LookupError as problem:
            raise click.ClickException(f"--database-url: {problem.args[0]}") from None
        except FAILED as problem:
            raise click.ClickException(described(problem).removeprefix("ledger: ")) from None
    if not wanted.dry_run:
        await tell(of, frozenset(report.touched), models=report.models_changed)
    return report


class _Vault:
    """`ledger.litellm.stage_models.Vault`, as the API role keeps secrets and judges models."""

    def __init__(self, seal: Seal | None, written: Written) -> None:
        self._seal = seal
        self._written = written

    def close(self, id: str, secrets: Mapping[str, Any]) -> bytes | None:
        """Sealed; None without a salt key."""
        if self._seal is None:
            return None
        return sealed(json.loads(json.dumps(secrets, default=float)), id, self._seal)

    def open(self, model: Model) -> dict[str, Any] | None:
        """The secrets again; None when they cannot be read."""
        try:
            return unsealed(model, self._seal)
        except Wrong:
            return None

    def judge(self, model: Model, secrets: Mapping[str, Any]) -> str | None:
        """Why the model would be left out here."""
        try:
            build(self._written, os.environ, judged=entry(model, secrets))
        except (ConfigurationError, Wrong) as problem:
            return str(problem).splitlines()[0]
        return None


def _cipher(of: Config, given: str | None) -> Cipher | None:
    """From the option, LiteLLM's variable, or the master key, which LiteLLM takes where there is no salt key."""
    if given == _PROMPT:
        given = click.prompt("LiteLLM's salt key", hide_input=True, err=True)
    try:
        key = given or Environment(os.environ).secret("LITELLM_SALT_KEY")
    except Wrong as wrong:
        raise click.ClickException(str(wrong)) from None
    if key is None and of.settings.master_key is not None:
        key = of.settings.master_key.get_secret_value()
    try:
        return None if key is None else Cipher(key)
    except MissingPackage as missing:
        if given is not None:
            raise click.ClickException(str(missing)) from None
        click.echo(f"Encrypted values stay behind: {missing}", err=True)
        return None


def _told(report: Report) -> dict[str, Any]:
    return {
        "entities": {entity: asdict(tally) for entity, tally in report.tallies.items()},
        "remarks": [remark._asdict() for remark in report.remarks],
        "left_behind": report.left,
        "configuration": report.configuration,
    }


def _print(report: Report, *, dry_run: bool) -> None:
    rows = [{"": entity.replace("_", " "), **asdict(tally)} for entity, tally in report.tallies.items()]
    show(rows, as_json=False)
    together: dict[tuple[str, str], list[str]] = defaultdict(list)
    for remark in report.remarks:
        together[remark.entity, remark.said].append(remark.id)
    for (entity, said), ids in together.items():
        more = f" and {len(ids) - _NAMED} more (--json names all)" if len(ids) > _NAMED else ""
        click.echo(f"{entity.replace('_', ' ')} {', '.join(ids[:_NAMED])}{more}: {said}")
    if report.left:
        click.echo(f"Not carried over: {', '.join(report.left)}")
    if report.configuration:
        click.echo(f"\nSettings in the database, for the configuration file:\n\n{report.configuration}")
    if dry_run:
        click.echo("\nThis was a dry run: nothing was changed.")
