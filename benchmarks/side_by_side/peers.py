"""What MLflow and trackio need for the two things that benchmarks/store.py times of ours. Runs in an environment of their own.

    python peers.py mlflow|trackio FOLDER

Writes 100,000 points of one metric in batches of 1,000 into a store in FOLDER (SQLite both), reads the curve back, and prints
points per second and seconds as JSON. Each through its own store class, without server, network or queue in between.
"""

import json
import os
import sys
import time
from pathlib import Path

POINTS, BATCH = 100_000, 1_000


def mlflow(folder: Path) -> tuple[float, float]:
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
    run = client.create_run(client.create_experiment("store")).info.run_id
    begin = time.perf_counter()
    for first in range(0, POINTS, BATCH):
        client.log_batch(run, [Metric("loss", float(step), 1000 + step, step) for step in range(first, first + BATCH)])
    wrote = time.perf_counter() - begin
    begin = time.perf_counter()
    curve = client.get_metric_history(run, "loss")
    read = time.perf_counter() - begin
    assert len(curve) == POINTS, len(curve)
    return wrote, read


def trackio(folder: Path) -> tuple[float, float]:
    os.environ["TRACKIO_DIR"] = str(folder)
    from trackio.sqlite_storage import SQLiteStorage

    begin = time.perf_counter()
    for first in range(0, POINTS, BATCH):
        steps = list(range(first, first + BATCH))
        SQLiteStorage.bulk_log("store", "run", [{"loss": float(step)} for step in steps], steps=steps)
    wrote = time.perf_counter() - begin
    begin = time.perf_counter()
    curve = SQLiteStorage.get_logs("store", "run", max_points=POINTS)
    read = time.perf_counter() - begin
    assert len(curve) == POINTS, len(curve)
    return wrote, read


if __name__ == "__main__":
    place = Path(sys.argv[2])
    place.mkdir(parents=True, exist_ok=True)
    seconds = {"mlflow": mlflow, "trackio": trackio}[sys.argv[1]](place)
    print(json.dumps({"points_per_second": POINTS / seconds[0], "read_seconds": seconds[1]}))
