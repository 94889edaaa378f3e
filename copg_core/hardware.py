"""What devices can do at best: dense matrix-product peaks and memory bandwidth from their makers' data sheets. Torch-free.

Peaks are dense (no structured sparsity) and for float32 accumulation, which is what torch uses: GeForce cards reach twice
the bfloat16 figure only with float16 accumulation. float32 means float32 proper, as TF32 is off by default in torch.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What training reaches of the peak, and what passes without a backward pass reach: 350 and 450 of an H100's 989 TFLOP/s
# at 7 billion parameters. An assumption, used for estimates before a run; the run itself reports what it reached.
TRAINING_SHARE = 0.35
FORWARD_SHARE = 0.45


@dataclass(frozen=True)
class Device:
    """Peaks in FLOP/s, memory bandwidth in bytes/s. `pattern` finds it in the name that its driver reports."""

    pattern: str
    bfloat16: float
    float32: float
    bandwidth: float


# The first pattern that is found in the name decides, so the special stands before the general.
DEVICES = (
    Device(r"B200|GB200", 2250e12, 75e12, 8.0e12),
    Device(r"GH200", 989e12, 67e12, 4.0e12),
    Device(r"H200 NVL", 835e12, 60e12, 4.8e12),
    Device(r"H200", 989e12, 67e12, 4.8e12),
    Device(r"H100 PCIe", 756e12, 51e12, 2.0e12),
    Device(r"H100 NVL", 835e12, 60e12, 3.9e12),
    Device(r"H100", 989e12, 67e12, 3.35e12),
    Device(r"A100.*40GB", 312e12, 19.5e12, 1.555e12),
    Device(r"A100", 312e12, 19.5e12, 2.0e12),
    Device(r"L40S", 362e12, 91.6e12, 0.864e12),
    Device(r"\bL4\b", 121e12, 30.3e12, 0.3e12),
    Device(r"A10G", 70e12, 35e12, 0.6e12),
    Device(r"\bA10\b", 125e12, 31.2e12, 0.6e12),
    Device(r"RTX 5090", 209.5e12, 104.8e12, 1.792e12),
    Device(r"RTX 4090", 165.2e12, 82.6e12, 1.008e12),
    Device(r"RTX 3090", 71e12, 35.6e12, 0.936e12),
)


def known_device(name: str) -> Device | None:
    """The data sheet of a device by the name its driver reports; None for one that is not in the table.

    >>> known_device("NVIDIA H100 80GB HBM3").bfloat16
    989000000000000.0
    """
    return next((device for device in DEVICES if re.search(device.pattern, name, re.IGNORECASE)), None)


def peak_flops(device_name: str, dtype: str) -> float | None:
    """Peak of dense matrix products in FLOP/s for `bfloat16` or `float32`; None where the device is not known.

    >>> peak_flops("NVIDIA A100-SXM4-80GB", "bfloat16"), peak_flops("4 cores", "float32")
    (312000000000000.0, None)
    """
    device = known_device(device_name)
    if device is None:
        return None
    return device.bfloat16 if dtype == "bfloat16" else device.float32
