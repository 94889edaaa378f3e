"""Data sources (built-in task, files, hub) to typed rows. Torch-free."""

from copg_core.datasets.load import content_hash, load_comparisons, load_demonstrations, load_prompts
from copg_core.datasets.preview import check, preview
from copg_core.datasets.stored import on_disk
from copg_core.rows import Comparison, Demonstration, Dialogue, Preview, Split

__all__ = [
    "Comparison",
    "Demonstration",
    "Dialogue",
    "Preview",
    "Split",
    "check",
    "content_hash",
    "load_comparisons",
    "load_demonstrations",
    "load_prompts",
    "on_disk",
    "preview",
]
