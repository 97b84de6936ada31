"""Models from the ledger: read as the file's are, sealed by the salt key alone, left out when they are wrong."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from broker.seal import Seal
from ledger.models import Model
from penstock.configuration.loading import build, read
from penstock.configuration.problems import ConfigurationError, Wrong
from penstock.configuration.stored import entry, sealed, unsealed
from schemas.config import Config
from tests.configuration.loaded import PROVIDERS, write

SEAL = Seal("a salt")
FILE = """
model_list:
- {model_name: filed, litellm_params: {model: openai/x}, model_info: {id: one}}
router_settings: {fallbacks: [{filed: [stored]}], default_max_parallel_requests: 7}
"""


def model(id: str = "two", **fields: Any) -> Model:
    """A model that can be used, unless the fields say otherwise."""
    return Model(id, "stored", {"model": "openai/y", **fields})


def loaded(directory: Path, *models: Model, judged: Model | None = None, file: str = FILE) -> Config:
    """The file with these models beside it."""
    stored = [entry(one, unsealed(one, SEAL), f"the model {one.id}") for one in models]
    last = None if judged is None else entry(judged, {})
    return build(read(write(directory, file)), {"KEY": "from-outside"}, stored, last, PROVIDERS)


def test_it_is_a_deployment_like_those_of_the_file(tmp_path: Path) -> None:
    config = loaded(tmp_path, model(rpm=5, input_cost_per_token=Decimal("0.0000000001"), tags=["a"]))
    filed, stored = config.deployments
    assert (filed.id, stored.id, stored.group, stored.provider, stored.model) == ("one", "two", "stored", "openai", "y")
    assert (stored.limits.rpm, stored.limits.parallel, stored.tags) == (5, 7, ("a",))
    assert stored.price.input == Decimal("0.0000000001")
    assert config.warnings == ()  # the fallback's group is there


def test_variables_are_replaced(tmp_path: Path) -> None:
    (_, stored) = loaded(tmp_path, model(api_key="os.environ/KEY")).deployments
    assert stored.api_key is not None
    assert stored.api_key.get_secret_value() == "from-outside"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (model(rpm="many"), 'litellm_params.rpm: a number is wanted, not "many"'),
        (model(rpm=True), "litellm_params.rpm: a number is wanted"),
        (model("one"), "the id is taken by the deployment at"),
        (model(model="bedrock/x"), "the provider bedrock is not supported yet"),
        (model(model="nobody"), "nothing says which provider"),
        (Model("two", "", {"model": "openai/y"}), "model_name is missing"),
    ],
)
def test_a_wrong_one_is_left_out_or_refused(tmp_path: Path, wrong: Model, said: str) -> None:
    config = loaded(tmp_path, wrong, model("three"))
    assert [deployment.id for deployment in config.deployments] == ["one", "three"]
    assert any(
        warning.startswith(f"the model {wrong.id} is left out: ") and said in warning for warning in config.warnings
    )
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, model("three"), judged=wrong)
    assert said in caught.value.lines[0]
    assert not caught.value.lines[0].startswith(":")


def test_a_nest_without_end_is_an_error() -> None:
    deep: list[Any] = []
    for _ in range(100):
        deep = [deep]
    with pytest.raises(Wrong, match="nested too deeply"):
        entry(model(extra_body={"x": deep}), {})


def test_secrets_are_bound_to_their_model_and_to_the_salt() -> None:
    kept = sealed({"api_key": "sk-hidden"}, "two", SEAL)
    assert b"sk-hidden" not in kept
    assert unsealed(model()._replace(sealed=kept), SEAL) == {"api_key": "sk-hidden"}
    for other, seal in ((model("three"), SEAL), (model(), Seal("another")), (model(), None)):
        with pytest.raises(Wrong, match="PENSTOCK_SALT_KEY"):
            unsealed(other._replace(sealed=kept), seal)
