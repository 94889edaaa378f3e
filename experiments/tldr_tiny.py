"""Real TL;DR data through the whole path with a tiny language model: SFT, reward model, then CoPG, DPO and IPO.

    copg up                                                      # in another terminal
    python experiments/tldr_tiny.py --data FOLDER [--json FILE]

FOLDER holds `tldr_sft_reddit2013/` (posts with their authors' summaries), `tldr_comparisons/human_pairs.jsonl.gz`
(OpenAI's human comparisons) and `stories260K/hf/` (a pretrained Llama of 260,032 parameters). A model of that size writes no
good summaries: what this shows is that real files, a real model and real labels go through, with every number right.
It speaks to the server over REST alone, so it also serves as an example of a client.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import httpx

SFT_TEMPLATE = "SUBREDDIT: r/{subreddit}\nTITLE: {title}\nPOST: {post}\n\nTL;DR:"
FINISHED = {"succeeded", "failed", "cancelled"}


def pipeline(
    folder: Path, *, sft_steps: int, reward_epochs: float, preference_steps: int, prompts: int
) -> dict[str, Any]:
    """The five runs as one request. `$sft` and `$reward` stand for the runs of those aliases."""
    pairs = str(folder / "tldr_comparisons" / "human_pairs.jsonl.gz")
    common = {
        "batch_size": 16,
        "micro_batch_tokens": 8192,
        "max_prompt_tokens": 256,
        "max_completion_tokens": 96,
        "evaluation": {"every": 50, "prompts": prompts, "generation": {"max_new_tokens": 64}},
    }
    comparisons = {
        "kind": "file",
        "path": pairs,
        "where": {"split": ["train"]},
        "validation_where": {"split": ["valid1", "valid2"]},
    }
    sft = {
        **common,
        "algorithm": "sft",
        "policy": {"kind": "folder", "path": str(folder / "stories260K" / "hf")},
        "data": {
            "kind": "file",
            "path": str(folder / "tldr_sft_reddit2013" / "train.jsonl.gz"),
            "validation_path": str(folder / "tldr_sft_reddit2013" / "valid.jsonl.gz"),
            "prompt_template": SFT_TEMPLATE,
        },
        "steps": sft_steps,
        "optimizer": {"learning_rate": 1e-3},
    }
    reward = {
        **common,
        "algorithm": "reward_model",
        "policy": {"kind": "run", "run": "$sft"},
        "data": comparisons,
        "epochs": reward_epochs,
        "optimizer": {"learning_rate": 3e-4},
        "evaluation": {"every": 100, "prompts": 1062},
    }
    steps = [{"alias": "sft", "config": sft}, {"alias": "reward", "config": reward}]
    for algorithm, beta in (("copg", 0.06), ("dpo", 0.1), ("ipo", 0.01)):
        config = {
            **common,
            "algorithm": algorithm,
            "beta": beta,
            "policy": {"kind": "run", "run": "$sft"},
            "reward": {"kind": "run", "run": "$reward"},
            "data": comparisons,
            "steps": preference_steps,
            "optimizer": {"learning_rate": 1e-4},
        }
        steps.append({"alias": algorithm, "config": config})
    return {"name": "TL;DR with a 260k Llama", "steps": steps}


def main() -> int:
    """Post the pipeline, wait for its runs, print what they measured. Exit code 1 where one of them did not succeed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--server", default="http://127.0.0.1:8000")
    parser.add_argument("--sft-steps", type=int, default=200)
    parser.add_argument("--reward-epochs", type=float, default=2.0)
    parser.add_argument("--preference-steps", type=int, default=100)
    parser.add_argument("--prompts", type=int, default=64)
    parser.add_argument("--json", type=Path, help="write the evaluations of every run here")
    chosen = parser.parse_args()
    with httpx.Client(base_url=f"{chosen.server}/api/v1", timeout=60) as client:
        body = pipeline(
            chosen.data.resolve(),
            sft_steps=chosen.sft_steps,
            reward_epochs=chosen.reward_epochs,
            preference_steps=chosen.preference_steps,
            prompts=chosen.prompts,
        )
        answer = client.post("/pipelines", json=body)
        if answer.status_code != 201:
            print(json.dumps(answer.json(), indent=2), file=sys.stderr)
            return 1
        return _follow(client, answer.json()["runs"], chosen.json)


def _follow(client: httpx.Client, runs: list[dict[str, Any]], file: Path | None) -> int:
    results: dict[str, Any] = {}
    for run in runs:
        while (detail := client.get(f"/runs/{run['id']}").json())["state"] not in FINISHED:
            time.sleep(1)
        evaluations = client.get(f"/runs/{run['id']}/evaluations").json()["items"]
        results[detail["algorithm"]] = {
            "state": detail["state"],
            "report": detail["report"],
            "evaluations": evaluations,
        }
        print(f"{detail['algorithm']}: {detail['state']} {detail['error'] or ''}")
        for evaluation in evaluations:
            figures = {**evaluation, **evaluation["values"]}
            shown = [f"{name} {value:.4g}" for name, value in figures.items() if isinstance(value, int | float)]
            print("   " + "  ".join(shown))
    if file is not None:
        file.write_text(json.dumps(results, indent=1))
    return 0 if all(result["state"] == "succeeded" for result in results.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
