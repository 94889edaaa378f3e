"""MLflow and trackio behind the calls of store_calls.py. Runs in an environment of their own.

    python peers.py mlflow|trackio FOLDER RUNS

RUNS is a JSON file of runs. Both keep them on SQLite in FOLDER; each through its own store class, without server, network or queue in between.
MLflow's parameters are strings that cannot be compared by size, so what is filtered and sorted by is written as metrics too. trackio has no
search: its configurations are read and filtered here, as its page does.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from store_calls import PAGE, THINNED, Store, measure


class Mlflow:
    fewest = 400

    def __init__(self, folder: Path) -> None:
        from mlflow import MlflowClient
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        url = f"sqlite:///{folder / 'mlflow.db'}"
        self.client = MlflowClient(url)
        self.store = SqlAlchemyStore(url, str(folder / "artifacts"))  # what the server answers its page with
        self.experiment = self.client.create_experiment("store")
        self.ids: dict[str, str] = {}

    def make_runs(self, runs: Sequence[dict[str, Any]]) -> None:
        from mlflow.entities import Metric, Param

        for run in runs:
            tags = {"paper": "yes"} if run["paper"] else {}
            uid = self.client.create_run(self.experiment, run_name=run["name"], tags=tags).info.run_id
            self.ids[run["name"]] = uid
            config = run["config"]
            numbers = {
                "beta": config["beta"],
                "rate": config["optimizer.learning_rate"],
                "last_reward": run["last_reward"],
            }
            self.client.log_batch(
                uid,
                metrics=[Metric(name, value, 1000, 0) for name, value in numbers.items()],
                params=[Param(name, str(value)) for name, value in config.items()],
            )

    def write(self, run: str, steps: range) -> None:
        from mlflow.entities import Metric

        self.client.log_batch(self.ids[run], [Metric("loss", float(step), 1000 + step, step) for step in steps])

    def read(self, run: str) -> int:
        return len(self.client.get_metric_history(self.ids[run], "loss"))

    def thinned(self, runs: Sequence[str]) -> list[int]:
        ids = [self.ids[run] for run in runs]
        points = self.store.get_metric_history_bulk_interval(ids, "loss", THINNED, None, None)
        counts = Counter(point.run_id for point in points)
        return [counts[uid] for uid in ids]

    def newest(self) -> list[str]:
        return self._search("", "attributes.start_time DESC")

    def conditions(self) -> list[str]:
        return self._search("metrics.beta >= 0.03 and metrics.rate < 1e-5 and tags.paper = 'yes'", "metrics.beta DESC")

    def by_rate(self) -> list[str]:
        return self._search("", "metrics.rate ASC")

    def _search(self, condition: str, order: str) -> list[str]:
        found = self.client.search_runs([self.experiment], condition, order_by=[order], max_results=PAGE)
        return [run.info.run_name for run in found]


class Trackio:
    fewest = 250  # it takes every second, fourth, eighth ... point, and so between half and all of what was asked for

    def __init__(self, folder: Path) -> None:
        os.environ["TRACKIO_DIR"] = str(folder)
        from trackio.sqlite_storage import SQLiteStorage

        self.storage = SQLiteStorage

    def make_runs(self, runs: Sequence[dict[str, Any]]) -> None:
        for run in runs:
            config = {**run["config"], "tags": ["paper"] if run["paper"] else []}
            self.storage.bulk_log("store", run["name"], [{"last_reward": run["last_reward"]}], steps=[0], config=config)

    def write(self, run: str, steps: range) -> None:
        self.storage.bulk_log("store", run, [{"loss": float(step)} for step in steps], steps=list(steps))

    def read(self, run: str) -> int:
        return sum("loss" in row for row in self.storage.get_logs("store", run, max_points=1_000_000))

    def thinned(self, runs: Sequence[str]) -> list[int]:
        asked = [{"run": run} for run in runs]
        answers = self.storage.get_logs_batch("store", asked, max_points=THINNED)
        return [sum("loss" in row for row in answer["logs"]) for answer in answers]

    def newest(self) -> list[str]:
        configs = self.storage.get_all_run_configs("store")
        records = self.storage.get_run_records("store")
        return [record["name"] for record in reversed(records) if record["id"] in configs][:PAGE]

    def conditions(self) -> list[str]:
        chosen = {
            name: config["beta"]
            for name, config in self.storage.get_all_run_configs("store").items()
            if config["beta"] >= 0.03 and config["optimizer.learning_rate"] < 1e-5 and "paper" in config["tags"]
        }
        return sorted(chosen, key=lambda name: -chosen[name])[:PAGE]

    def by_rate(self) -> list[str]:
        configs = self.storage.get_all_run_configs("store")
        return sorted(configs, key=lambda name: configs[name]["optimizer.learning_rate"])[:PAGE]


if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    peer: Store = {"mlflow": Mlflow, "trackio": Trackio}[sys.argv[1]](place)
    print(json.dumps(measure(peer, json.loads(Path(sys.argv[3]).read_text(encoding="utf-8")))))
