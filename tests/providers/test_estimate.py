import msgspec
import pytest

from workers.estimate import Passed, estimate_prompt, estimate_text


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"messages": [{"role": "user", "content": "12345678"}]}, 4 + 3),
        ({"prompt": "12345678"}, 2),
        ({"input": [[1, 2, 3], [4]]}, 4),
        ({"input": ["1234", "5678"]}, 2),
        ({"prompt": "水水水水"}, 3),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x" * 9999}}]}]}, 4 + 1000),
        ({"tools": [{"function": {"name": "abcd"}}], "model": "not counted"}, 1),
        ({}, 0),
        ([], 1),
    ],
)
def test_a_prompt(body: object, tokens: int) -> None:
    assert estimate_prompt(msgspec.json.encode(body)) == tokens


def test_anything_has_an_estimate() -> None:
    assert estimate_prompt(b"\xff" * 8) == 2
    assert estimate_prompt(b"[" * 100_000) == 25_000
    assert estimate_text("") == 0


def test_a_stream_is_read_only_when_asked_and_never_kept_whole() -> None:
    read: list[int] = []

    def count(block: bytes) -> int:
        read.append(len(block))
        return len(block)

    passed = Passed(count)
    passed.add(b"x" * 100)
    assert read == []
    assert passed.tokens == 25
    for _ in range(100):
        passed.add(b"x" * 65536)
    assert sum(read) > 90 * 65536
    before = len(read)
    passed.add(b"y")
    passed.forget()
    assert passed.tokens == (100 + sum(read[1:])) // 4
    assert len(read) == before
