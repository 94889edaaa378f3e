"""Data sources (built-in task, files, hub) to typed rows. Torch-free."""

from copg_core.datasets.load import load_comparisons, load_demonstrations
from copg_core.datasets.rows import Comparison, Demonstration, Dialogue, Preview, Split

__all__ = ["Comparison", "Demonstration", "Dialogue", "Preview", "Split", "load_comparisons", "load_demonstrations"]
