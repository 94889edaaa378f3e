"""The processes of a run that trains on several devices: torchrun's launcher, with exit codes that say what happened.

    python -m worker.ranks COUNT GRACE JOB

torchrun's own command ends with 1 whatever its processes said; the supervisor must know whether they stopped after a
checkpoint, failed with a sentence, or were killed. SIGTERM goes to every process, which has GRACE seconds. On the way out
their exit code is passed on: 128 + n where signal n ended one, else that of the first that failed.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from torch.distributed.elastic.multiprocessing import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from worker.child import STOPPED


def launch(count: int, grace: float, job: Path) -> int:
    """Start `count` processes of worker/child.py on this machine and wait for them."""
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        run_id=job.parent.name,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",  # a free port, held by the launcher itself
        max_restarts=0,  # a new attempt starts from the checkpoint, with a new fencing number
        shutdown_timeout=max(1, int(grace)),
    )
    try:
        elastic_launch(config, sys.executable)("-m", "worker.child", str(job))
    except SignalException:
        return STOPPED
    except ChildFailedError as error:
        _, first = error.get_first_failure()
        killed = [failure.exitcode for failure in error.failures.values() if failure.exitcode < 0]
        return 128 - killed[0] if killed else first.exitcode  # who lost a killed one fails as a consequence
    return 0


if __name__ == "__main__":
    # As torchrun does: processes that share the cores must not each take all of them.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(launch(int(sys.argv[1]), float(sys.argv[2]), Path(sys.argv[3])))
