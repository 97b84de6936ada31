"""Embedding vectors in OpenAI's two encodings."""

import base64
import struct
from collections.abc import Sequence


def encode_base64(vector: Sequence[float]) -> str:
    """`encoding_format: base64`: 32-bit little-endian floats."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
