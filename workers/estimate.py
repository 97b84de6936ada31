"""Token counts when the provider reports none: heuristics, always flagged `estimated` by who uses them.

Four bytes of UTF-8 are one token (English text; other scripts take about as many bytes), a picture or a sound is a flat
count. Off by a third is normal: good enough for a budget, never a replacement for the provider's word.
"""

from collections.abc import Callable
from typing import Any

import msgspec

_BYTES = 4  # per token
_MESSAGE = 4  # tokens around each message
_MEDIA = 1000  # tokens of an image, a sound, a document: in the middle of what providers charge
_MEDIA_KEYS = frozenset({"image_url", "image", "images", "input_audio", "file", "source", "audio", "video_url"})
_PROMPT_KEYS = ("messages", "prompt", "input", "tools", "functions", "response_format", "system")
_KEPT = 256 * 1024  # bytes of a stream kept unread before they are counted


def tokens(size: int) -> int:
    """Tokens of a text of `size` bytes, rounded up."""
    return -(-size // _BYTES)


def estimate_prompt(body: bytes) -> int:
    """Prompt tokens of an OpenAI request body (chat, completions, embeddings)."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return tokens(len(body))
    if not isinstance(fields, dict):
        return tokens(len(body))
    messages = fields.get("messages")
    extra = _MESSAGE * len(messages) if isinstance(messages, list) else 0
    return extra + sum(_weigh(fields[key]) for key in _PROMPT_KEYS if key in fields)


def estimate_call(body: bytes, typical_output: float) -> tuple[int, int]:
    """Prompt and completion tokens to reckon with: the most that the request allows, else as many as usual."""
    try:
        limits = _LIMITS.decode(body)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return tokens(len(body)), round(typical_output)
    most = limits.max_completion_tokens or limits.max_tokens
    wanted = most if isinstance(most, int) and most > 0 else round(typical_output)
    count = limits.n if isinstance(limits.n, int) and limits.n > 0 else 1
    return estimate_prompt(body), wanted * count


def estimate_text(text: str) -> int:
    """Tokens of a text."""
    return tokens(len(text.encode(errors="replace")))


def _weigh(root: Any) -> int:
    """Tokens of a JSON value: its strings, its token ids, flat counts for media. Iterative: depth is the client's."""
    size, count, todo = 0, 0, [root]
    while todo:
        value = todo.pop()
        if isinstance(value, str):
            size += len(value.encode(errors="replace"))
        elif isinstance(value, list):
            todo.extend(value)
        elif isinstance(value, dict):
            media = [key for key in value if key in _MEDIA_KEYS]
            count += _MEDIA * len(media)
            todo.extend(item for key, item in value.items() if key not in _MEDIA_KEYS and key != "type")
        elif type(value) is int:
            count += 1  # a token id
    return count + tokens(size)


class _Limits(msgspec.Struct):
    max_tokens: Any = None
    max_completion_tokens: Any = None
    n: Any = None


_LIMITS = msgspec.json.Decoder(_Limits)


class Passed:
    """What a stream has given so far, counted only when somebody asks; bounded memory.

    `read` gives the bytes of generated text in a block of whole events. Blocks are kept unread until they are many.
    """

    def __init__(self, read: Callable[[bytes], int]) -> None:
        self._read = read
        self._blocks: list[bytes] = []
        self._kept = 0
        self._size = 0

    def add(self, block: bytes) -> None:
        """One more block."""
        self._blocks.append(block)
        self._kept += len(block)
        if self._kept > _KEPT:
            self._fold()

    def forget(self) -> None:
        """The provider has told its counts: nothing need be kept."""
        self._blocks.clear()
        self._kept = 0

    @property
    def tokens(self) -> int:
        """Tokens of the generated text so far."""
        self._fold()
        return tokens(self._size)

    def _fold(self) -> None:
        self._size += sum(map(self._read, self._blocks))
        self.forget()
