"""Tokens of a prompt before anybody has counted them: four bytes of JSON are one, images count by themselves.

Only a body that names such parts is looked into. What cannot be read counts as text.
"""

from collections.abc import Iterable

import msgspec

_BYTES = 4  # of a token
_IMAGE = 1600  # tokens: Anthropic takes at most that, OpenAI's models with tiles 1,445
_IMAGE_LOW = 85  # with `detail: low` (OpenAI's models with tiles)
_SOUND = {"wav": 500}  # base64 bytes of a token: 32 tokens a second (Gemini; OpenAI 10) of 16-bit samples
_PACKED_SOUND = 100  # the same, of speech as it is usually compressed
_FILE = 12  # base64 bytes of a token: a page of some 40 kB is up to 3,000 (Anthropic)
_FILE_LEAST = 3000  # tokens: a page
_PARTS = (b'"image_url"', b'"input_audio"', b'"file"')


class _Body(msgspec.Struct):
    messages: list["_Message"] = []


class _Message(msgspec.Struct):
    content: msgspec.Raw = msgspec.Raw()


class _Part(msgspec.Struct):
    image_url: msgspec.Raw = msgspec.Raw()
    input_audio: msgspec.Raw = msgspec.Raw()
    file: msgspec.Raw = msgspec.Raw()


class _Image(msgspec.Struct):
    detail: str | None = None


class _Sound(msgspec.Struct):
    format: str = ""


def prompt_tokens(body: bytes) -> int:
    """Tokens of the prompt in a request's body, about."""
    if b'"type"' in body:  # one search is enough for a plain text
        for name in _PARTS:
            if name in body:
                return _looked_into(body)
    return len(body) // _BYTES


def _looked_into(body: bytes) -> int:
    text, tokens = len(body), 0
    try:
        for part in _parts(body):
            for raw, count in ((part.image_url, _image), (part.input_audio, _sound), (part.file, _file)):
                if size := len(memoryview(raw)):
                    text -= size
                    tokens += count(raw, size)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return len(body) // _BYTES
    return text // _BYTES + tokens


def _parts(body: bytes) -> Iterable[_Part]:
    for message in _BODY.decode(body).messages:
        if bytes(memoryview(message.content)[:1]) == b"[":
            yield from _CONTENT.decode(message.content)


def _image(raw: msgspec.Raw, _size: int) -> int:
    if bytes(memoryview(raw)[:1]) != b"{":
        return _IMAGE
    return _IMAGE_LOW if _IMAGES.decode(raw).detail == "low" else _IMAGE


def _sound(raw: msgspec.Raw, size: int) -> int:
    return size // _SOUND.get(_SOUNDS.decode(raw).format, _PACKED_SOUND)


def _file(_raw: msgspec.Raw, size: int) -> int:
    return max(_FILE_LEAST, size // _FILE)


_BODY = msgspec.json.Decoder(_Body)
_CONTENT = msgspec.json.Decoder(list[_Part])
_IMAGES = msgspec.json.Decoder(_Image)
_SOUNDS = msgspec.json.Decoder(_Sound)
