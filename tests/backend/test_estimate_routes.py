"""What a run would cost, asked over the API."""

from __future__ import annotations

from typing import Any

from backend import nodes
from backend.nodes import GpuReading
from tests.backend.studio_bench import API, Bench, problem

LLAMA = {"kind": "hub", "id": "meta-llama/Llama-2-7b-hf"}
PAPER = {
    "algorithm": "copg",
    "policy": LLAMA,
    "data": {"kind": "hub", "id": "trl-lib/tldr-preference"},
    "reward": {"kind": "data"},
    "dtype": "bfloat16",
    "micro_batch_tokens": 2048,
}
H200 = {"kind": "gpu", "uuid": "GPU-1", "name": "NVIDIA H200", "memory_mb": 143_771}
PROCESSOR = {"kind": "cpu", "name": "4 cores", "cores": 4, "memory_mb": 8192}


def ask(bench: Bench, config: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    answer = bench.client.post(f"{API}/runs/estimate", json={"config": config, **more})
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


def register(bench: Bench, name: str, *devices: dict[str, Any], draining: bool = False) -> None:
    gpus = [GpuReading(index, one["uuid"], one["name"]) for index, one in enumerate(devices)]
    with bench.database.transaction() as session:
        nodes.register(
            session, name, host=name, pid=1, queue="default", slots=1, version="1", devices=[PROCESSOR, *devices], gpus=gpus,
            draining=draining,
        )  # fmt: skip


def test_the_devices_of_the_workers_are_asked_gpus_first(bench: Bench) -> None:
    register(bench, "laptop")
    register(bench, "server", H200, {**H200, "uuid": "GPU-2"})
    gpu, processor = ask(bench, PAPER)
    assert (gpu["device"], processor["device"]) == ("NVIDIA H200", "the processor of laptop")
    assert gpu["fits"] is True
    assert gpu["total_bytes"] == sum(part["bytes"] for part in gpu["parts"] if part["at_peak"])
    assert gpu["total_bytes"] < gpu["device_bytes"]
    assert [stage["name"] for stage in gpu["stages"]] == ["reference", "training", "evaluation"]
    assert gpu["duration"].startswith("about ")
    assert processor["fits"] is False
    assert processor["verdict"].startswith("Does not fit: needs ")
    assert processor["seconds"] is None
    assert "how fast the processor of laptop is" in processor["unknown"][0]


def test_a_device_may_be_named(bench: Bench) -> None:
    [one] = ask(bench, PAPER, device="NVIDIA A100-SXM4-80GB", device_bytes=80 * 2**30)
    assert one["fits"] is False
    assert "LoRA" in one["verdict"]
    [nobody] = ask(bench, PAPER)
    assert nobody["fits"] is None
    assert nobody["total_bytes"] > 100e9


def test_a_model_that_is_not_here_is_said_to_be_unknown(bench: Bench) -> None:
    [one] = ask(bench, {**PAPER, "policy": {"kind": "hub", "id": "nobody/nothing"}})
    assert one["total_bytes"] is None
    assert one["parts"] == []
    assert "nobody/nothing is not on this machine" in one["unknown"][0]


def test_a_planned_parent_tells_its_shape(bench: Bench) -> None:
    sft = bench.client.post(f"{API}/runs", json={"config": {"algorithm": "sft", "policy": LLAMA}}).json()["id"]
    [own] = ask(bench, PAPER)
    [child] = ask(bench, {**PAPER, "policy": {"kind": "run", "run": sft}})
    assert child["total_bytes"] == own["total_bytes"]
    [lost] = ask(bench, {**PAPER, "policy": {"kind": "run", "run": "nowhere"}})
    assert "nowhere" in lost["unknown"][0]


def test_what_no_worker_could_take_is_told_in_the_words_of_the_queue(bench: Bench) -> None:
    def told(gpus: int | None) -> Any:
        one = bench.client.post(f"{API}/runs/estimate", json={"config": PAPER, "gpus": gpus}).json()["obstacle"]
        sweep = {"config": PAPER, "grid": {"beta": [0.1, 1]}, "gpus": gpus}
        assert bench.client.post(f"{API}/sweeps/preview", json=sweep).json()["obstacle"] == one
        return one

    assert told(None) == "no worker serves the queue 'default'"
    register(bench, "laptop")
    assert (told(None), told(0)) == (None, None)
    assert told(2) == "waits for 2 GPUs; the largest worker has none"
    register(bench, "server", H200, {**H200, "uuid": "GPU-2"})
    for _ in range(3):  # others wait too: that is a matter of time
        bench.launch()
    assert told(2) is None
    assert told(3) == "waits for 3 GPUs; the largest worker has 2"
    register(bench, "server", H200, {**H200, "uuid": "GPU-2"}, draining=True)
    assert told(2) == "waits for 2 GPUs; the largest worker has none"


def test_a_wrong_field_is_a_problem(bench: Bench) -> None:
    answer = bench.client.post(f"{API}/runs/estimate", json={"config": {**PAPER, "batch_size": 0}})
    problem(answer, 422, "config.batch_size")


def test_options_that_a_reward_function_does_not_take_are_told_before_the_launch(bench: Bench) -> None:
    config = {**PAPER, "reward": {"kind": "function", "name": "length", "options": {"aim": 3}}}
    for path in ("/runs/estimate", "/runs"):
        answer = bench.client.post(f"{API}{path}", json={"config": config})
        assert "It takes target, unit" in problem(answer, 422, "config.reward.options")["detail"]
