"""Answers read by LiteLLM's own models: `[[module, class, answer], …]` on stdin; what each lacks of the class, as JSON.

In a process of its own: LiteLLM takes seconds to import. A model that cannot read its answer ends the process.
"""

import importlib
import json
import sys

print(
    json.dumps(
        [
            sorted(model.model_fields.keys() - answer.keys())
            for module, name, answer in json.load(sys.stdin)
            if (model := getattr(importlib.import_module(module), name)).model_validate(answer)
        ]
    )
)
