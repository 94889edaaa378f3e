"""Workers and health: whether anything can be trained at all."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from importlib.metadata import version
from threading import Thread

import redis
from fastapi import APIRouter
from sqlalchemy import func, select

from backend import gpu_history, queue, runs
from backend.database import NOW, Database
from backend.models import Node, Run
from backend.models_machines import Gpu
from backend.routes.context import Context
from backend.schemas.system import GpuOut, Health, WorkerList, WorkerOut
from backend.settings import Settings
from backend.states import OWNED, RunState
from backend.views import moment

router = APIRouter(tags=["system"])

VERSION = version("copg-studio")
PATIENCE = 2.0  # seconds that health waits for the database and for the broker


@router.get("/workers", response_model=WorkerList)
def list_workers(context: Context) -> WorkerList:
    """Worker processes by their last heartbeat, and how many runs wait for them."""
    with context.database.snapshot() as session:
        nodes = session.execute(select(Node, NOW - Node.seen).order_by(Node.name)).all()
        owners = session.scalars(select(Run.owner).where(Run.state.in_(OWNED))).all()
        gpus = session.execute(
            select(Gpu, Run.uid, Run.name, Run.algorithm)
            .outerjoin(Run, Run.id == Gpu.run_id)
            .order_by(Gpu.node_id, Gpu.index)
        ).all()
        states = runs.counts(session)
        _, sampled_at = gpu_history.newest(session)
    items = [
        WorkerOut(
            name=node.name,
            host=node.host,
            pid=node.pid,
            queue=node.queue,
            slots=node.slots,
            cpu_slots=node.cpu_slots,
            gpus=[_gpu(*row) for row in gpus if row[0].node_id == node.id],
            draining=node.draining,
            busy=sum(owner == node.name for owner in owners),
            version=node.version,
            devices=node.devices,
            alive=age < context.settings.lease_seconds,
            seen_seconds_ago=round(max(0.0, age), 1),
            started_at=moment(node.started_at),
        )
        for node, age in nodes
    ]
    return WorkerList(
        items=items,
        queued=states[RunState.QUEUED],
        running=states[RunState.RUNNING] + states[RunState.CANCELLING],
        waiting=states[RunState.WAITING],
        gpus_sampled_at=moment(sampled_at),
    )


def _gpu(gpu: Gpu, run: str | None, run_name: str | None, algorithm: str | None) -> GpuOut:
    return GpuOut(
        index=gpu.index, uuid=gpu.uuid, name=gpu.name, memory_total=gpu.memory_total, memory_used=gpu.memory_used,
        utilisation=gpu.utilisation, run=run, run_name=run_name, algorithm=algorithm,
    )  # fmt: skip


@router.get("/health", response_model=Health)
def get_health(context: Context) -> Health:
    """Whether database and broker answer within two seconds. Degraded is still 200: the API itself is well."""
    workers, database_trouble = _within_patience(
        lambda: _alive_workers(context.database, context.settings.lease_seconds)
    )
    _, broker_trouble = _within_patience(lambda: _ping_broker(context.settings))
    troubles = [
        f"{what}: {trouble}"
        for what, trouble in (("database", database_trouble), ("broker", broker_trouble))
        if trouble
    ]
    if not database_trouble and not workers:
        troubles.append("no worker is alive: runs stay queued")
    return Health(
        status="degraded" if troubles else "ok",
        version=VERSION,
        database="down" if database_trouble else "ok",
        broker="down" if broker_trouble else "ok",
        workers=workers or 0,
        detail="; ".join(troubles),
    )


def _alive_workers(database: Database, lease_seconds: float) -> int:
    with database.snapshot() as session:
        return session.scalar(select(func.count()).select_from(Node).where(Node.seen > NOW - lease_seconds)) or 0


def _ping_broker(settings: Settings) -> int:
    """Raises redis.RedisError or ValueError where nothing answers."""
    if not settings.broker_url:
        raise ValueError("none is configured (COPG_BROKER_URL)")
    # Celery writes a socket's address as redis+socket://, redis-py as unix://
    address = queue.broker_url(settings).replace("redis+socket://", "unix://", 1)
    client = redis.Redis.from_url(address, socket_connect_timeout=PATIENCE / 2, socket_timeout=PATIENCE / 2)
    with client:
        client.ping()
    return 1


def _within_patience(work: Callable[[], int]) -> tuple[int | None, str]:
    """What `work` returns, or what is wrong in one line. A driver may hang longer than we wait, so that it gets a thread
    of its own, which nobody joins."""
    outcome: Future[int] = Future()

    def attempt() -> None:
        try:
            outcome.set_result(work())
        except Exception as error:  # noqa: BLE001 - whatever a driver raises means that it is down
            outcome.set_exception(error)

    Thread(target=attempt, daemon=True, name="health").start()
    try:
        return outcome.result(PATIENCE), ""
    except FutureTimeout:
        return None, f"no answer in {PATIENCE:g} s"
    except Exception as error:  # noqa: BLE001
        return None, (str(getattr(error, "orig", error)).strip().splitlines() or [type(error).__name__])[0]
