"""A sweep over beta: the same file at several betas, one after the other, with reference and rewards computed once.

    python experiments/sweep.py experiments/miniature/copg.toml --betas 0.1 0.5 2
    python experiments/sweep.py experiments/paper/copg-0.06.toml --betas 0.01 0.1 --dry-run --gpu H200

Several files may be named (CoPG, DPO and IPO: `--betas` then holds for each). A run goes to FILE's folder, beside its cache, under
`sweep/<FILE>-<beta>`; one that is finished already is not trained again, one that was interrupted begins anew. The table is Fig. 5 as numbers: the reward at the end
against beta, with its standard error over prompts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

from copg_core.__main__ import output_of
from copg_core.config import PreferenceConfig, RunConfig, load_config, parse_config
from copg_core.errors import CopgError
from copg_core.estimate import named_machine
from copg_core.events import Evaluation, Event, Report
from copg_core.inputs import Lookup
from copg_core.output import config_hash


@dataclass
class Notes:
    """A recorder that keeps the evaluations, and whether reference and rewards came from the cache."""

    evaluations: list[Evaluation] = field(default_factory=list)
    cached: dict[str, bool] = field(default_factory=dict)

    def record(self, event: Event) -> None:
        if isinstance(event, Evaluation):
            self.evaluations.append(event)
        if isinstance(event, Report) and event.section == "pairs":
            self.cached = {name: bool(event.values[name]) for name in ("rewards_from_cache", "reference_from_cache")}


def at_beta(file: Path, beta: float) -> RunConfig:
    """The file's run with another beta. Raises CopgError."""
    config = load_config(file)
    if not isinstance(config, PreferenceConfig):
        raise SystemExit(f"{file} trains {config.algorithm}, which has no beta")
    return parse_config(config.model_dump() | {"beta": beta}, source=f"{file} at beta {beta:g}")


def train_one(config: RunConfig, file: Path, folder: Path) -> dict[str, object]:
    """Train one run of the sweep, or read what it left when it was trained before."""
    from copg_core.train import train

    result, mark = folder / "sweep.json", config_hash(config)
    if result.is_file() and (before := dict(json.loads(result.read_text()))).get("config") == mark:
        return before
    if folder.exists():  # another configuration's, or one that was interrupted: its checkpoints must not mix with ours
        shutil.rmtree(folder)
    notes = Notes()
    train(
        config,
        notes,
        folder=folder,
        resolve_run=lambda run: output_of(run, file.parent),
        cache_folder=file.parent / "cache",
    )
    first, last = notes.evaluations[0], notes.evaluations[-1]
    found: dict[str, object] = {
        "config": mark,
        "steps": last.step, "n": last.n, "start": first.reward_mean, "reward": last.reward_mean,
        "stderr": last.reward_stderr, "gold": last.gold_mean, "kl": last.kl, "unfinished": last.unfinished_share, **notes.cached,
    }  # fmt: skip
    result.write_text(json.dumps(found, indent=1))
    return found


def cell(value: object, digits: int = 2) -> str:
    """A number for the table; a dash for what was not measured."""
    return f"{value:.{digits}f}" if isinstance(value, float) else "–"


def main() -> int:
    """Run or price the sweep; the exit code is 1 where a run failed or would not fit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE")
    parser.add_argument("--betas", type=float, nargs="+", required=True)
    parser.add_argument("--dry-run", action="store_true", help="say what each run would take, train nothing")
    parser.add_argument("--gpu", help="with --dry-run: a GPU to estimate for, in place of this machine")
    chosen = parser.parse_args()
    failures = 0
    if not chosen.dry_run:
        print("| algorithm | β | reward, start → end | gold | KL, nats | unfinished | n | from the cache |")
        print("|---|---|---|---|---|---|---|---|")
    for file in chosen.files:
        for beta in chosen.betas:
            try:
                config = at_beta(file, beta)
                if chosen.dry_run:
                    failures += price(config, file, chosen.gpu)
                    continue
                found = train_one(config, file, file.parent / "sweep" / f"{file.stem}-{beta:g}")
            except CopgError as error:
                print(f"{file} at beta {beta:g}: {error}", file=sys.stderr)
                failures += 1
                continue
            cached = "yes" if found.get("rewards_from_cache") and found.get("reference_from_cache") else "no"
            print(
                f"| {config.algorithm} | {beta:g} | {cell(found['start'])} → {cell(found['reward'])} ± {cell(found['stderr'])} "
                f"| {cell(found['gold'])} | {cell(found['kl'])} | {cell(found['unfinished'])} | {found['n']} | {cached} |",
                flush=True,
            )
    return 1 if failures else 0


def price(config: RunConfig, file: Path, gpu: str | None) -> bool:
    """Print the verdict and the time of one run; True where it would not fit."""
    from copg_core.rehearsal import plan

    def planned(run: str) -> RunConfig | None:
        beside = file.parent / f"{run}.toml"
        return load_config(beside) if beside.is_file() else None

    lookup = Lookup(lambda run: output_of(run, file.parent), planned)
    lines, estimate = plan(config, lookup, named_machine(gpu) if gpu else None)
    times = [line for line in lines if line.startswith(("time: about", "time: at most"))]
    print(f"{config.algorithm} at beta {getattr(config, 'beta', 0):g}: {estimate.verdict} {' '.join(times)}")
    return estimate.fits is False


if __name__ == "__main__":
    sys.exit(main())
