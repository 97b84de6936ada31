"""What OpenAI sends, as it sends it: pretty-printed bodies, one `data:` line per event, `usage: null` in chunks."""

import json
from typing import Any

HEADERS = {
    "content-type": "application/json",
    "openai-processing-ms": "417",
    "openai-version": "2020-10-01",
    "x-request-id": "req_of_the_provider",
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "6ms",
}

ANSWER = b"""{
  "id": "chatcmpl-BfUpstream0001",
  "object": "chat.completion",
  "created": 1741569952,
  "model": "gpt-4o-2024-08-06",
  "choices": [
    {
      "index": 0,
      "message": {
        "role": "assistant",
        "content": "Hello! How can I assist you today? \\u00e9\\ud83d\\ude00",
        "refusal": null,
        "annotations": []
      },
      "logprobs": null,
      "finish_reason": "stop"
    }
  ],
  "usage": {
    "prompt_tokens": 19,
    "completion_tokens": 10,
    "total_tokens": 29,
    "prompt_tokens_details": {
      "cached_tokens": 0,
      "audio_tokens": 0
    },
    "completion_tokens_details": {
      "reasoning_tokens": 0,
      "audio_tokens": 0,
      "accepted_prediction_tokens": 0,
      "rejected_prediction_tokens": 0
    }
  },
  "service_tier": "default",
  "system_fingerprint": "fp_44added55e",
  "x_new_field_of_tomorrow": {"kept": 1.10}
}
"""

USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}


def answer(message: dict[str, Any], finish: str = "stop", **fields: Any) -> dict[str, Any]:
    """A completion with this message."""
    return {
        "id": "chatcmpl-BfUpstream0002",
        "object": "chat.completion",
        "created": 1741569952,
        "model": "gpt-4o-2024-08-06",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": None, "refusal": None, **message},
                "logprobs": None,
                "finish_reason": finish,
            }
        ],
        "usage": USAGE,
        **fields,
    }


def event(delta: dict[str, Any], finish: str | None = None, index: int = 0) -> bytes:
    """One event of a chat stream."""
    chunk = {
        "id": "chatcmpl-BfUpstream0003",
        "object": "chat.completion.chunk",
        "created": 1741569953,
        "model": "gpt-4o-2024-08-06",
        "service_tier": "default",
        "system_fingerprint": "fp_44added55e",
        "choices": [{"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}],
        "usage": None,
        "obfuscation": "8zYq",
    }
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


USAGE_EVENT = (
    b'data: {"id":"chatcmpl-BfUpstream0003","object":"chat.completion.chunk","created":1741569953,'
    b'"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_44added55e","choices":[],'
    b'"usage":{"prompt_tokens":19,"completion_tokens":10,"total_tokens":29},"obfuscation":""}\n\n'
)
DONE = b"data: [DONE]\n\n"

WORDS = [
    event({"role": "assistant", "content": "", "refusal": None}),
    event({"content": "Hel"}),
    event({"content": "lo, wörld"}),
    event({"content": " 😀"}),
    event({}, "stop"),
]
STREAM = [*WORDS, USAGE_EVENT, DONE]

CALL = [
    event(
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_DdmO9pD3xa9XTPNJ32zg2hcA",
                    "type": "function",
                    "function": {"name": "get_weather", "arguments": ""},
                }
            ],
            "refusal": None,
        }
    ),
    event({"tool_calls": [{"index": 0, "function": {"arguments": '{"ci'}}]}),
    event({"tool_calls": [{"index": 0, "function": {"arguments": 'ty":"Paris"}'}}]}),
    event({}, "tool_calls"),
    USAGE_EVENT,
    DONE,
]


def error(message: str, kind: str, code: str | None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error body."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}
