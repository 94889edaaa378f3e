"""`python -m copg_core train FILE | bandit`: the library without web, database or queue.

Under a launcher (`torchrun --nproc-per-node 8 -m copg_core train FILE`) the first process speaks for all.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from copg_core.errors import CopgError

if TYPE_CHECKING:
    from copg_core.config import RunConfig


def main(arguments: list[str] | None = None) -> int:
    """Run one command; returns the exit code: 0 done, 1 a foreseeable failure (one sentence on stderr), 75 stopped."""
    parser = argparse.ArgumentParser(prog="python -m copg_core", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train one run from a TOML file")
    train.add_argument("file", type=Path, metavar="FILE", help="the run's configuration (see experiments/)")
    train.add_argument("--folder", type=Path, help="where checkpoints and the output go; default: FILE without .toml")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint in the folder")
    train.add_argument(
        "--dry-run", action="store_true", help="check everything, print what would be done, train nothing"
    )
    bandit = commands.add_parser("bandit", help="simulate the bandit of the paper's Section 5")
    bandit.add_argument("file", type=Path, nargs="?", metavar="FILE", help="TOML with what differs from the paper's")
    bandit.add_argument("--seeds", type=int, help="independent repetitions")
    bandit.add_argument("--json", action="store_true", help="print everything, as the API gives it")
    train.add_argument(
        "--gpu", metavar="NAME", help="estimate a dry run for this GPU, for example H200, in place of this machine"
    )
    train.add_argument(
        "--gpus", type=int, default=1, metavar="N", help="how many of --gpu share a run with sharding = full"
    )
    chosen = parser.parse_args(arguments)
    if chosen.command == "bandit":
        return _bandit(chosen.file, chosen.seeds, as_json=chosen.json)
    if chosen.command == "train" and chosen.gpus < 1:
        parser.error("--gpus is at least 1")
    if chosen.gpu and not chosen.dry_run:
        parser.error("--gpu belongs to --dry-run: training uses the devices that are there")
    folder = chosen.folder or chosen.file.with_suffix("")
    try:
        if chosen.dry_run:
            return _dry_run(chosen.file, folder, chosen.gpu, chosen.gpus)
        return _train(chosen.file, folder, resume=chosen.resume)
    except CopgError as error:
        print(f"{error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1


def _bandit(file: Path | None, seeds: int | None, *, as_json: bool) -> int:
    from pydantic import ValidationError

    from copg_core.bandit import BanditConfig
    from copg_core.bandit_result import run_bandit
    from copg_core.bandit_table import print_table

    try:
        raw = tomllib.loads(file.read_text(encoding="utf-8")) if file is not None else {}
        config = BanditConfig.model_validate(raw | ({} if seeds is None else {"seeds": seeds}))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        print(f"{file} cannot be read: {error}", file=sys.stderr)  # noqa: T201 - the command's own output
        return 1
    except ValidationError as error:
        for item in error.errors():
            place = ".".join(map(str, item["loc"])) or "bandit"
            print(f"{place}: {item['msg']}", file=sys.stderr)  # noqa: T201
        return 1
    result = run_bandit(config)
    if as_json:
        print(result.model_dump_json(indent=2))  # noqa: T201
    else:
        print_table(config, result)
    return 0


def _train(file: Path, folder: Path, *, resume: bool) -> int:
    from rich.console import Console

    from copg_core.checkpoints import latest_checkpoint
    from copg_core.config import load_config
    from copg_core.errors import CheckpointError, ConfigError
    from copg_core.progress import ProgressBar

    config = load_config(file)
    checkpoint = latest_checkpoint(folder / "checkpoints")
    if resume and checkpoint is None:
        raise CheckpointError(f"{folder} has no checkpoint to resume from")
    if not resume and ((folder / "output").exists() or checkpoint is not None):
        raise ConfigError(f"{folder} already holds a run: add --resume to go on with it, or choose another --folder")
    stopping: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda caught, frame: stopping.append(caught))
    with ProgressBar(Console(stderr=True, quiet=os.environ.get("RANK", "0") != "0")) as bar:
        bar.console.print(f"{config.algorithm}: {file} -> {folder}", highlight=False)
        from copg_core.train import train  # torch and transformers take seconds to import

        outcome = train(
            config,
            bar,
            lambda: bool(stopping),
            folder=folder,
            resume_from=checkpoint if resume else None,
            resolve_run=lambda run: output_of(run, file.parent),
            cache_folder=folder.parent / "cache",
        )
        if not outcome.finished:
            bar.console.print(f"stopped after step {outcome.step}; add --resume to go on", highlight=False)
    return 0 if outcome.finished else 75


def _dry_run(file: Path, folder: Path, gpu: str | None, gpus: int) -> int:
    from rich.console import Console

    from copg_core.config import load_config
    from copg_core.estimate import named_machine
    from copg_core.inputs import Lookup
    from copg_core.rehearsal import plan

    def planned(run: str) -> RunConfig | None:
        beside = file.parent / f"{run}.toml"
        return load_config(beside) if beside.is_file() else None

    console = Console()
    lookup = Lookup(lambda run: output_of(run, file.parent), planned)
    config = load_config(file)
    lines, estimate = plan(
        config, lookup, named_machine(gpu, gpus if config.sharding == "full" else 1) if gpu else None
    )
    for line in [*lines, f"would write to {folder}; nothing was trained"]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 1 if estimate.fits is False else 0


def output_of(run: str, beside: Path) -> Path:
    """The output folder of an earlier run that a configuration names by its folder, absolute or beside the file."""
    folder = beside / run
    return folder / "output" if (folder / "output").is_dir() else folder


if __name__ == "__main__":
    sys.exit(main())
