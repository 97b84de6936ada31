"""The documents: what is generated is up to date, links lead somewhere, what is named exists."""

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import yaml

from api.intake import CONTROL, CREDENTIALS
from broker.topology import ROLES
from docs import generate
from penstock.command import main

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    path for folder in (ROOT, ROOT / "docs", ROOT / "docs" / "adr") for path in folder.glob("*.md") if path.is_file()
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def prose(path: Path) -> str:
    return FENCE.sub("", path.read_text())


def anchors(path: Path) -> set[str]:
    """GitHub's: lower case, punctuation gone, spaces to hyphens."""
    headings = re.findall(r"^#+ (.+)$", prose(path), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def shell(path: Path) -> Iterator[str]:
    """Each command of the `sh` blocks, comments gone and continued lines joined."""
    for language, block in FENCE.findall(path.read_text()):
        if language == "sh":
            for line in block.replace("\\\n", " ").splitlines():
                command = re.sub(r"\s+# .*", "", line).strip()
                if command:
                    yield command


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path):
    for link in LINK.findall(prose(path)):
        if link.startswith(("https://", "http://")):
            continue
        target, _, anchor = link.partition("#")
        found = (path.parent / target).resolve() if target else path
        assert found.exists(), f"{path.name}: {link}"
        assert found.is_relative_to(ROOT)
        assert not anchor or anchor in anchors(found), f"{path.name}: {link}"


def test_what_is_generated_is_up_to_date():
    behind = [path.name for path, text in generate.documents().items() if path.read_text() != text]
    assert behind == [], "run: python docs/generate.py"


def test_every_generated_part_is_in_a_document():
    told = "".join(path.read_text() for path in DOCUMENTS)
    assert [name for name in generate.PARTS if f"<!-- generated: {name} -->" not in told] == []


def test_the_generator_notices_what_changed():
    text = "before\n<!-- generated: control -->\nold\n<!-- end -->\nafter"
    renewed = generate.filled(text)
    assert "old" not in renewed
    assert renewed.startswith("before\n<!-- generated: control -->\n")
    assert renewed.endswith("\n<!-- end -->\nafter")
    with pytest.raises(KeyError):
        generate.filled("<!-- generated: nobody -->\n<!-- end -->")


def test_from_litellm_names_every_control_field():
    told = set(re.findall(r"`([^`]+)`", (ROOT / "docs" / "from-litellm.md").read_text()))
    assert (CONTROL | CREDENTIALS) - told == set()


def references(value: object) -> Iterator[str]:
    """Every `$ref` in a document."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        if key == "$ref":
            yield child
        yield from references(child)


def test_asyncapi_is_whole():
    document = yaml.safe_load((ROOT / "docs" / "asyncapi.yaml").read_text())
    found = list(references(document))
    assert len(found) > len(document["channels"])
    for reference in found:
        place = document
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]
    for operation in document["operations"].values():
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in document["channels"]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "setup"])
def test_what_the_messages_say_of_roles_is_permitted(role):
    may = ROLES[role]
    for channel in generate.SENDS.get(role, ()):
        assert re.search(may.write, generate.CHANNELS[channel][0]), channel
    for channel in generate.RECEIVES[role]:
        exchange, _, address = generate.CHANNELS[channel]
        queue = address.replace("{group}", "g").replace("{process}", "p") or exchange
        assert re.search(may.read, queue), channel


def command_of(words: list[str]) -> click.Command:
    """The `penstock` command, or group of commands, that these words name."""
    found: click.Command = main
    while words and isinstance(found, click.Group):
        word = words.pop(0)
        assert word in found.commands, word
        found = found.commands[word]
    return found


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_commands_exist(path):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = [*shell(path), *re.findall(r"`((?:penstock|make|python docs/|python3 deploy/)[^`]*)`", prose(path))]
    for command in named:
        for found in re.findall(r"(?:^|\$\(|\| )((?:penstock|make|python3?) [^)|]*)", command):
            check(found.split(), targets)


def check(words: list[str], targets: set[str]) -> None:
    program = words.pop(0)
    if program == "make":
        assert words[0] in targets, words
    elif program.startswith("python"):
        assert (ROOT / words[0]).exists(), words
    elif words[0] not in ("--version", "--help"):
        known = {option for command in [command_of(words)] for parameter in command.params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known | {"--help"}, words


def test_make_help_names_what_the_readme_uses():
    said = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for target in ("run", "test"):
        assert re.search(rf"^{target}\s", said, re.M)


@pytest.mark.parametrize("name", ["serve", "api", "worker", "accounting", "admin spend", "admin permissions"])
def test_help_has_examples(name):
    assert "Example" in (command_of(name.split()).help or "")
