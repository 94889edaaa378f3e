"""The full torture: `make torture [SEED=n] [DATABASE=sqlite|postgresql]`. Prints a table; exit code 1 where a check fails."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

from tests.torture.round import Result, torture, train_undisturbed
from tests.torture.servers import Postgres, postgres_programs


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--database", choices=["sqlite", "postgresql", "both"], default="both")
    parser.add_argument(
        "--limit", type=float, default=3600.0, help="seconds until runs that have not ended count as stuck"
    )
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # clear up on the way out
    names = ["sqlite", "postgresql"] if arguments.database == "both" else [arguments.database]
    folder = Path(tempfile.mkdtemp(prefix="copg-torture-"))
    undisturbed = train_undisturbed(folder / "undisturbed")
    results: dict[str, Result] = {}
    for name in names:
        postgres = None
        if name == "postgresql":
            programs = postgres_programs()
            if programs is None:
                print("PostgreSQL is not installed on this machine: left out")
                continue
            postgres = Postgres(programs)
        own = folder / name
        own.mkdir()
        try:
            results[name] = torture(
                own, postgres, undisturbed, seed=arguments.seed, runs=arguments.runs, pace=4.0, pause=(2.0, 7.0),
                slots=2, limit=arguments.limit,
            )  # fmt: skip
        finally:
            if postgres is not None:
                postgres.close()
        _report(name, arguments.seed, results[name])
    if any(result.problems for result in results.values()):
        print(f"logs and runs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


def _report(name: str, seed: int, result: Result) -> None:
    print(f"\n{name}, seed {seed}: {result.seconds:.0f} s, {sum(result.faults.values())} faults")
    for title, counts in (("faults", result.faults), ("seen", result.seen)):
        print(f"  {title}")
        for what, count in sorted(counts.items()):
            print(f"    {count:5d}  {what}")
    print(f"  {len(result.problems)} problems")
    for problem in result.problems:
        print(f"    {problem}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
