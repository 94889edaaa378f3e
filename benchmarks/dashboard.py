"""200 live viewers of 20 growing runs on one web process: how old a point is when a viewer has it, and what else still answers.

    python benchmarks/dashboard.py [--quick] [--json FILE] [--database URL] [--seconds 60] [--viewers 200] [--per-second 2]

Four processes: the web process as `copg up` serves it (uvicorn), a writer that ships points of 20 runs through the workers' own
fenced write, and the viewers, which do what a run's page does: hold the event stream, and at each event of the run that they
show ask for the points after their cursor, one request in flight, the newest pending. The value of a point is the moment
right before its transaction, so that its age at the viewer is the clock minus the value. Every seventh viewer loses its
connection every few seconds and connects again. At the end each viewer must hold every point of its run, none twice.

Meanwhile the fourth, one client, asks for everything else that the pages ask for (everything_else.py), launches, edits and cancels, one question after
the other, and its answers are timed. The runs write an evaluation with 64 completions every twenty steps.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from backend import claims, runs
from backend.database import Database
from backend.migrations import upgrade
from benchmarks import everything_else
from benchmarks.everything_else import summary
from benchmarks.goals import tell
from copg_core.config import CopgConfig
from copg_core.events import Evaluation, Metrics, Sample

FIGURE = "loss"
GOALS = {"point_to_viewer_p95_s": 1.0, "everything_else_p95_ms": 100.0}
_REV = re.compile(rb'"rev":(\d+)')
PROMPTS, EVERY = 64, 20  # of an evaluation, and the steps between two of them


def write(url: str, count: int, seconds: float, per_second: float, pipe: Any) -> None:
    """The writer's process: `count` runs that grow by a batch of points `per_second` times a second each."""
    database = Database(url)
    owned: list[tuple[int, int, str]] = []
    for number in range(count):
        with database.transaction() as session:
            uid = runs.create(session, CopgConfig(), name=f"growing {number}").uid
        with database.transaction() as session:
            claim = claims.claim(session, uid, "benchmark", 600.0)
            assert claim is not None
            owned.append((claim.run_id, claim.fence, uid))
    pipe.send([uid for _, _, uid in owned])
    pipe.recv()
    step = 0
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        for place, (run_id, fence, _) in enumerate(owned):
            now = time.time()
            event = Metrics(
                step=step, values={FIGURE: now, "gradient_norm": 1.0, "accuracy": 0.5, "tokens_per_second": 100.0}
            )
            events: list[Metrics | Evaluation] = [event]
            if step % EVERY == place % EVERY or step == 0:
                events.append(evaluation(step))
            with database.transaction() as session:
                claims.renew(session, run_id, fence, 600.0, events)
            due = begin + (step + (place + 1) / count) / per_second
            time.sleep(max(0.0, due - time.perf_counter()))
        step += 1
    pipe.send(step)


def evaluation(step: int) -> Evaluation:
    """As a run writes it every now and then, with a completion for each prompt."""
    samples = tuple(
        Sample(
            prompt_index=place, prompt=f"Prompt {place} " * 20, completion=f"Completion of step {step} " * 10,
            reward=float(place % 7), kl=0.5, length=60, finished=True,
        )
        for place in range(PROMPTS)
    )  # fmt: skip
    return Evaluation(
        step=step, n=PROMPTS, reward_mean=3.0, reward_stderr=0.2, kl=0.5, length_mean=60.0, samples=samples
    )


class Tab:
    """Plain HTTP/1.1 over one socket. A client library would need more of the two cores than what is measured."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def open(self, path: str) -> asyncio.StreamReader:
        """Send a GET and skip the answer's head; the body is the caller's to read."""
        if (
            self._streams is not None and self._streams[0].at_eof()
        ):  # the server closes what was silent for five seconds
            self.close()
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=2**22)
        reader, writer = self._streams
        writer.write(f"GET /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
        self._head = (await reader.readuntil(b"\r\n\r\n")).lower()
        assert self._head.startswith(b"http/1.1 200"), self._head
        return reader

    async def get(self, path: str) -> Any:
        """The JSON of an answer that says its length."""
        reader = await self.open(path)
        length = int(self._head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return json.loads(await reader.readexactly(length))

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Viewer:
    """One browser tab on a run's page."""

    port: int
    run: str
    ages: list[float] = field(default_factory=list)
    """Seconds, of the points that came while the stream was open; not of those that were waiting when it opened."""
    steps: list[int] = field(default_factory=list)
    events: int = 0
    reconnects: int = -1
    cursor: str = ""
    fence: int = -1
    opened: float = 0.0
    told: str = ""
    """What the last event said of the run's state, as a part of the next question."""
    busy: bool = False
    pending: bool = False

    def __post_init__(self) -> None:
        self.asking = Tab(self.port)

    async def hint(self) -> None:
        if self.busy:
            self.pending = True
            return
        self.busy = True
        try:
            while True:
                self.pending = False
                await self.once()
                if not self.pending:
                    return
        finally:
            self.busy = False

    async def once(self) -> None:
        if self.cursor:
            answer = await self.asking.get(
                f"/figures/{FIGURE}/points?run={self.run}&after={self.cursor}&fence={self.fence}{self.told}"
            )
            if not answer["reset"]:
                self.take(answer["cursor"], answer["traces"][0])
                return
        answer = await self.asking.get(f"/figures/{FIGURE}?run={self.run}")
        if answer["cursor"].startswith("-1"):  # no step yet
            return
        trace = answer["figure"]["data"][0]
        have = len(self.steps)
        self.fence = answer["fence"]
        self.take(answer["cursor"], {"x": trace["x"][have:], "y": trace["y"][have:]})

    def take(self, cursor: str, trace: dict[str, Any]) -> None:
        self.cursor = cursor
        self.steps += trace["x"]
        self.ages += [time.time() - value for value in trace["y"] if value > self.opened]

    async def live(self, *, drops: bool, stop: asyncio.Event) -> None:
        """Hold the stream until `stop`; with `drops`, lose it every few seconds for half a second."""
        chance = random.Random(self.run)
        mine = self.run.encode()
        running = set()
        while not stop.is_set():
            stream = Tab(self.port)
            deadline = time.monotonic() + (chance.uniform(2, 6) if drops else 3600)
            reader = await stream.open("/events")
            self.reconnects += 1
            self.opened = time.time()
            self.told = ""
            running.add(asyncio.create_task(self.hint()))  # what happened while nobody listened
            while not stop.is_set() and time.monotonic() < deadline:
                try:
                    chunk = await asyncio.wait_for(reader.read(2**20), 0.5)
                except TimeoutError:
                    continue
                if not chunk:
                    break
                if mine in chunk:
                    self.events += 1
                    told = _REV.search(chunk, chunk.rfind(mine))
                    self.told = f"&rev={int(told[1])}" if told else ""
                    running.add(asyncio.create_task(self.hint()))
            stream.close()
            await asyncio.sleep(0.5)
        await asyncio.gather(*running)


async def watch(
    port: int, uids: list[str], viewers: int, writer: Any, asker: Any, seconds: float, server: int
) -> dict[str, Any]:
    """The viewers, from before the first point until each has the last one. `writer` and `asker`: pipes to those two processes."""
    heard = partial(asyncio.get_running_loop().run_in_executor, None)
    stop = asyncio.Event()
    crowd = [Viewer(port, uids[number % len(uids)]) for number in range(viewers)]
    tasks = [asyncio.create_task(one.live(drops=number % 7 == 3, stop=stop)) for number, one in enumerate(crowd)]
    await heard(asker.recv)
    used = _cpu_seconds(server)
    asker.send("go")
    writer.send("go")
    last = await heard(writer.recv)
    used = _cpu_seconds(server) - used
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and any(one.steps[-1:] != [last - 1] for one in crowd):
        await asyncio.sleep(0.1)
    asker.send("enough")
    others, slowest = summary(await heard(asker.recv))
    stop.set()
    await asyncio.gather(*tasks)
    for name, middle, count in slowest[:8]:
        print(f"  slow: {name:70} median {middle:7.1f} ms of {count}")
    ages = np.array([age for one in crowd for age in one.ages])
    return {
        "point_to_viewer_p50_s": float(np.quantile(ages, 0.5)),
        "point_to_viewer_p95_s": float(np.quantile(ages, 0.95)),
        "point_to_viewer_max_s": float(ages.max()),
        **others,
        "points_seen": len(ages),
        "steps_written_per_run": last,
        "events": sum(one.events for one in crowd),
        "reconnects": sum(one.reconnects for one in crowd),
        "viewers_that_miss_a_point": sum(one.steps != list(range(last)) for one in crowd),
        "server_cpu_share": used / seconds,
    }


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 viewers for 8 seconds: does it run?")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--database", metavar="URL", help="an empty database; none: SQLite in a temporary folder")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--viewers", type=int, default=200)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--per-second", type=float, default=2, help="batches of points a second and run")
    parser.add_argument("--port", type=int, default=8765)
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.viewers, chosen.runs = 8, 20, 4
    with tempfile.TemporaryDirectory() as folder:
        url = chosen.database or f"sqlite:///{folder}/copg.sqlite3"
        upgrade(url)
        with served(url, Path(folder), chosen.port) as server, ExitStack() as others:
            writer = others.enter_context(beside(write, url, chosen.runs, chosen.seconds, chosen.per_second))
            uids = writer.recv()
            asker = others.enter_context(beside(everything_else.beside, chosen.port, uids))
            found = asyncio.run(watch(chosen.port, uids, chosen.viewers, writer, asker, chosen.seconds, server.pid))
    tell(found, GOALS, chosen.json)
    if found["viewers_that_miss_a_point"]:
        raise SystemExit("a viewer misses a point or holds one twice")


@contextmanager
def beside(work: Callable[..., None], *given: Any) -> Iterator[Any]:
    """`work(*given, pipe)` in a process of its own, and our end of its pipe, which says EOFError where that process fails."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=work, args=(*given, there))
    process.start()
    there.close()
    try:
        yield here
    finally:
        process.terminate()
        process.join()


@contextmanager
def served(url: str, folder: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """The web process alone on a database, as `copg up` serves it; it answers when the block begins."""
    command = [sys.executable, "-m", "uvicorn", "--factory", "backend.main:create_app", "--port", str(port), "--log-level", "warning", "--timeout-graceful-shutdown", "3"]  # fmt: skip
    environment = os.environ | {"COPG_DATABASE_URL": url, "COPG_DATA_DIR": str(folder)}
    root = Path(__file__).parent.parent
    server = subprocess.Popen(command, env=environment, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            try:
                httpx.get(f"http://127.0.0.1:{port}/api/v1/health").raise_for_status()
                break
            except httpx.HTTPError:
                time.sleep(0.1)
        else:
            raise SystemExit("the web process does not answer")
        yield server
    finally:
        server.terminate()
        server.wait(20)


if __name__ == "__main__":
    main()
