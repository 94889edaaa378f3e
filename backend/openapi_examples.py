"""Requests to start from, in the OpenAPI document and on /docs: one or two for every operation that takes a JSON body.

Each is sent to a studio by tests/backend/test_openapi_examples.py; ids stand for your own.
"""

from __future__ import annotations

from typing import Any

_RUN, _PARENT = "0f5c9a1e6b7d4c2f8a3b5d7e9f1a2b3c", "1b2c3d4e5f60718293a4b5c6d7e8f901"
_COPG: dict[str, Any] = {
    "algorithm": "copg",
    "beta": 0.1,
    "policy": {"kind": "preset", "size": "micro"},
    "reward": {"kind": "gold"},
    "data": {"kind": "task", "train_size": 2000},
    "steps": 200,
}

EXAMPLES: dict[str, dict[str, tuple[str, Any]]] = {
    "create_run": {
        "copg": ("CoPG on the built-in task", {"name": "first", "tags": ["paper"], "config": _COPG}),
        "from_runs": (
            "CoPG from a trained SFT model, against a trained reward model",
            {
                "config": {
                    "algorithm": "copg",
                    "beta": 0.1,
                    "policy": {"kind": "run", "run": _PARENT},
                    "reward": {"kind": "run", "run": _RUN},
                    "data": {"kind": "file", "path": "/data/tldr.jsonl"},
                    "seed": 1,
                },
                "gpus": 1,
                "max_seconds": 86400,
            },
        ),
    },
    "estimate_a_run": {"copg": ("What it takes on this machine", {"config": _COPG})},
    "update_run": {"tags": ("Rename and tag", {"name": "beta 0.1, kept", "tags": ["paper", "kept"]})},
    "act_on_runs": {
        "cancel": ("Cancel two runs", {"action": "cancel", "ids": [_RUN, _PARENT]}),
        "rehearse": (
            "Which failed runs would be deleted",
            {"action": "delete", "where": ["state=failed", "tags=scratch"], "dry_run": True},
        ),
    },
    "pin_checkpoint": {"pin": ("Keep it whatever the retention says", {"pinned": True})},
    "create_pipeline": {
        "miniature": ("The paper in miniature", {"preset": "miniature", "size": "ci"}),
        "own": (
            "SFT, then CoPG from what it trained",
            {
                "name": "two steps",
                "steps": [
                    {"alias": "sft", "config": {"algorithm": "sft"}},
                    {"alias": "copg", "config": {**_COPG, "policy": {"kind": "run", "run": "$sft"}}},
                ],
            },
        ),
    },
    "preview_sweep": {"betas": ("What would be made", {"config": _COPG, "grid": {"beta": [0.03, 0.1, 0.3]}})},
    "create_sweep": {
        "betas": (
            "Three betas, three seeds each",
            {"name": "betas", "config": _COPG, "grid": {"beta": [0.03, 0.1, 0.3], "seed": [0, 1, 2]}},
        )
    },
    "update_sweep": {"name": ("Rename it", {"name": "betas, final"})},
    "extend_sweep": {"seeds": ("Two more seeds of each", {"grid": {"seed": [3, 4]}})},
    "simulate_bandit": {"paper": ("The paper's Fig. 1, ten seeds", {"seeds": 10})},
    "draw_bandit": {"low_beta": ("A smaller beta", {"beta": 0.1, "seeds": 3})},
    "draw_bandit_figure": {"low_beta": ("A smaller beta", {"beta": 0.1, "seeds": 3})},
    "create_dataset": {
        "file": (
            "A file on the studio's machine",
            {"name": "TL;DR", "source": {"kind": "file", "path": "/data/tldr.jsonl"}},
        )
    },
    "update_dataset": {"columns": ("Other columns", {"columns": {"prompt": "question", "completion": "answer"}})},
    "preview_dataset": {"task": ("Pairs of the built-in task", {"source": {"kind": "task"}, "rows": 3})},
    "count_tokens": {"preset": ("In the tokens of a small Llama", {"policy": {"kind": "preset", "size": "micro"}})},
    "create_trial": {
        "two": (
            "Two runs, three completions each",
            {"runs": [_PARENT, _RUN], "prompt": "my boss sold my bike . should i sue ? TL;DR:", "completions": 3},
        )
    },
    "free_storage": {"checkpoints": ("Checkpoints that nothing needs", {"action": "checkpoints", "dry_run": False})},
    "create_webhook": {
        "ends": ("Told of every end", {"url": "https://example.com/hook", "description": "our chat"}),
    },
    "update_webhook": {"pause": ("Be quiet for now", {"enabled": False})},
    "replace_webhook_secret": {
        "overlap": ("Two days to tell the receivers", {"overlap_hours": 48}),
        "leaked": ("The old one has leaked", {"overlap_hours": 0}),
    },
    "log_in": {"token": ("With a token", {"token": "copg_5f0c29d1a7b3_..."})},
}


def put(operation: dict[str, Any]) -> None:
    """Put the examples of an operation into its JSON body."""
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    if content is not None and operation["operationId"] in EXAMPLES:
        content["examples"] = {
            name: {"summary": summary, "value": value}
            for name, (summary, value) in EXAMPLES[operation["operationId"]].items()
        }
