"""Models of LiteLLM: opened with its salt key, sealed with ours."""

import os
import subprocess
import sys
from typing import Any

import pytest

from ledger import models
from ledger.litellm.ciphers import Cipher, looks_encrypted
from ledger.litellm.report import Remark
from ledger.pool import Pool
from tests.importing.theirs import SALT, Theirs, Vault, encrypted, params

_LITELLM = """
import base64, sys
from litellm.proxy.common_utils import encrypt_decrypt_utils as theirs
print(base64.urlsafe_b64encode(theirs.encrypt_value(sys.argv[1], sys.argv[2])).decode())
print(theirs._encrypt_aes_gcm(sys.argv[1], sys.argv[2]))
"""


async def add(theirs: Theirs, model_id: str, given: Any, **more: Any) -> None:
    values = {"model_name": "group", "created_by": "", "updated_by": "", **more}
    await theirs.add("ProxyModelTable", model_id=model_id, litellm_params=given, **values)


async def test_a_model_with_its_secrets(theirs: Theirs, pool: Pool) -> None:
    given = params(model="openai/gpt-4o", api_key="sk-provider", api_base="https://x/v1", rpm=5)
    await add(theirs, "m", given, model_info={"id": "m", "db_model": True, "mode": "chat"}, blocked=True)
    report = await theirs.carry()
    (row,) = await models.everything(pool)
    assert row.model._replace(sealed=None) == models.Model(
        "m", "group", {"model": "openai/gpt-4o", "api_base": "https://x/v1", "rpm": 5}, None, {"mode": "chat"}, True
    )
    assert Vault().open(row.model) == {"api_key": "sk-provider"}
    assert (report.remarks, report.models_changed) == ([], True)
    again = await theirs.carry()
    assert (again.tallies["model"].unchanged, again.models_changed) == (1, False)


async def test_a_model_follows_the_source_until_it_is_changed_here(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "m", params(model="openai/a", api_key="one"))
    await theirs.carry()
    await theirs.run('UPDATE "LiteLLM_ProxyModelTable" SET litellm_params = $1', params(model="openai/b", api_key="2"))
    assert (await theirs.carry()).tallies["model"].updated == 1
    await pool.execute("UPDATE models SET model_name = 'mine'")
    await theirs.run('UPDATE "LiteLLM_ProxyModelTable" SET litellm_params = $1', params(model="openai/c"))
    assert (await theirs.carry()).tallies["model"].kept == 1
    (row,) = await models.everything(pool)
    assert (row.model.name, row.model.params["model"]) == ("mine", "openai/b")
    assert (await theirs.carry(overwrite=True)).tallies["model"].updated == 1
    async with pool.acquire() as on:
        await models.delete(on, "m")
    assert (await theirs.carry()).tallies["model"].kept == 1
    assert await models.everything(pool) == ()


@pytest.mark.parametrize("salt", [None, "sk-another-salt"])
async def test_what_cannot_be_read_is_named(theirs: Theirs, pool: Pool, salt: str | None) -> None:
    theirs.salt = salt
    await add(theirs, "closed", params(model="openai/a", api_key="sk-provider"))
    await add(theirs, "half", {"model": "openai/b", "api_key": encrypted("sk-provider")})
    report = await theirs.carry()
    (row,) = await models.everything(pool)
    assert (row.model.id, row.model.params, row.model.sealed) == ("half", {"model": "openai/b"}, None)
    why = "it is encrypted, and no salt key was given" if salt is None else "it is encrypted with another salt key"
    assert report.remarks == [
        Remark("model", "group (closed)", f"the provider's model cannot be read: {why}"),
        Remark("model", "group (half)", f"without api_key: {why}"),
    ]
    theirs.salt = SALT
    report = await theirs.carry()
    assert (report.tallies["model"].new, report.tallies["model"].updated, report.remarks) == (1, 1, [])


async def test_without_our_salt_key_secrets_stay_behind(theirs: Theirs, pool: Pool) -> None:
    theirs.vault = Vault(has_key=False)
    await add(theirs, "m", params(model="openai/a", api_key="sk-provider"))
    report = await theirs.carry()
    (row,) = await models.everything(pool)
    assert (row.model.params, row.model.sealed) == ({"model": "openai/a"}, None)
    assert [remark.said for remark in report.remarks] == [
        "without api_key: they are kept only sealed, with PENSTOCK_SALT_KEY"
    ]


async def test_a_credential_goes_into_the_models_that_refer_to_it(theirs: Theirs, pool: Pool) -> None:
    for name, values in (("azure", params(api_key="k", api_base="https://a")), ("spare", params(api_key="s"))):
        by = {"created_by": "", "updated_by": ""}
        await theirs.add("CredentialsTable", credential_id=name, credential_name=name, credential_values=values, **by)
    await add(theirs, "m", params(model="azure/a", litellm_credential_name="azure", api_base="https://mine"))
    report = await theirs.carry()
    (row,) = await models.everything(pool)
    assert row.model.params == {"model": "azure/a", "api_base": "https://mine"}
    assert Vault().open(row.model) == {"api_key": "k"}
    assert report.remarks == [Remark("credential", "spare", "no model refers to it")]


async def test_models_that_cannot_be_are_named(theirs: Theirs, pool: Pool) -> None:
    await add(theirs, "t", params(model="openai/a"), model_info={"team_id": "red"})
    await add(theirs, "n", params(api_base="https://x"))
    await add(theirs, "o", params(model="nobody/x"))
    report = await theirs.carry()
    assert [row.model.id for row in await models.everything(pool)] == ["o"]
    assert report.remarks == [
        Remark(
            "model",
            "group (t)",
            "it is one team's own: give the keys of that team a model group of their own",
        ),
        Remark("model", "group (n)", "it says no provider's model"),
        Remark("model", "group (o)", "it is carried over, but left out as long as this is so: no such provider"),
    ]


def test_what_litellm_itself_encrypts_is_read() -> None:
    environ = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(
        [sys.executable, "-c", _LITELLM, "sk-größe", "salt"], env=environ, capture_output=True, text=True, check=True
    )
    for text in done.stdout.split():
        assert looks_encrypted(text)
        assert Cipher("salt").read(text) == "sk-größe"
        assert Cipher("other").read(text) is None


@pytest.mark.parametrize("text", ["", "openai/gpt-4o", "sk-" + "a" * 61, "https://x/v1", "*", "ü", "v2:gcm:%"])
def test_what_is_no_ciphertext_is_read_as_none(text: str) -> None:
    assert Cipher(SALT).read(text) is None
    assert not looks_encrypted(text) or text.startswith("v2:")
