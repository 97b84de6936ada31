"""Prompts in tokens: text by its bytes, whatever else is in it by what providers take for it."""

import json
from typing import Any

import pytest

from policy.prompts import prompt_tokens

DATA = "data:image/png;base64," + "iVBORw0K" * 75_000
LINK = "https://example.org/a.png"
PDF = "data:application/pdf;base64," + "JVBERi0x" * 45_000
SPEECH = "UklGRoQJ" * 10_000


def body(*parts: Any, words: str = "What is this?") -> bytes:
    """A chat with a text and other parts."""
    content = [{"type": "text", "text": words}, *parts]
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": content}]}).encode()


def image(url: Any, **more: Any) -> dict[str, Any]:
    """A part."""
    return {"type": "image_url", "image_url": {"url": url, **more}}


BEFORE = prompt_tokens(body())


@pytest.mark.parametrize(
    ("part", "tokens"),
    [
        (image(DATA), 1600),
        (image(LINK), 1600),
        (image(DATA, detail="high"), 1600),
        (image(DATA, detail="low"), 85),
        (image(DATA, detail=None), 1600),
        ({"type": "input_image", "image_url": DATA}, 1600),
        ({"type": "input_audio", "input_audio": {"data": SPEECH, "format": "wav"}}, 160),
        ({"type": "input_audio", "input_audio": {"data": SPEECH, "format": "mp3"}}, 800),
        ({"type": "file", "file": {"file_data": PDF}}, 30_000),
        ({"type": "file", "file": {"file_id": "file-1"}}, 3000),
    ],
)
def test_what_is_no_text_counts_by_itself(part: Any, tokens: int) -> None:
    assert tokens <= prompt_tokens(body(part)) - BEFORE <= tokens + 25


def test_every_part_counts_and_the_text_around_them_as_ever() -> None:
    many = prompt_tokens(body(*[image(LINK)] * 10, words="x" * 4000))
    assert 16_000 + 1000 <= many <= 16_000 + 1000 + 200


def test_text_that_speaks_of_images_is_text() -> None:
    said = body(words='"image_url" and "file"')
    assert prompt_tokens(said) == len(said) // 4


@pytest.mark.parametrize(
    "odd",
    [
        b'{"messages": [{"content": [{"type": "", "image_url": {"detail": 7}}]}]}',
        b'{"messages": {"type": 1, "image_url": 1}}',
        b'{"messages": [{"content": [{"type": "", "input_audio": "x"}]}]}',
        b'{"type": ["image_url"], "file"',
        b'{"type": 1, "file": ' + b"[" * 100_000,
        b'{"messages": [{"content": [{"type": "", "input_audio": {"format": "\xff"}}]}]}',
    ],
)
def test_what_cannot_be_read_is_text(odd: bytes) -> None:
    assert prompt_tokens(odd) == len(odd) // 4


def test_a_caption_of_nothing_is_no_part() -> None:
    said = b'{"messages": [{"content": "image_url"}, {"content": null}, {}], "file": "type"}'
    assert prompt_tokens(said) == len(said) // 4
