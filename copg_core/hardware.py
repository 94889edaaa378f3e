"""What devices can do at best: dense matrix-product peaks and memory from their makers' data sheets. Torch-free.

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
    """Peaks in FLOP/s, bandwidth in bytes/s, memory in MiB as the driver counts it. `pattern` finds the driver's name."""

    name: str
    pattern: str
    memory_mib: int
    bfloat16: float
    float32: float
    bandwidth: float


# The first pattern that is found in the name decides, so the special stands before the general.
DEVICES = (
    Device("B200", r"B200|GB200", 183359, 2250e12, 75e12, 8.0e12),
    Device("GH200", r"GH200", 97871, 989e12, 67e12, 4.0e12),
    Device("H200 NVL", r"H200 NVL", 143771, 835e12, 60e12, 4.8e12),
    Device("H200", r"H200", 143771, 989e12, 67e12, 4.8e12),
    Device("H100 PCIe", r"H100 PCIe", 81559, 756e12, 51e12, 2.0e12),
    Device("H100 NVL", r"H100 NVL", 95830, 835e12, 60e12, 3.9e12),
    Device("H100", r"H100", 81559, 989e12, 67e12, 3.35e12),
    Device("A100 40GB", r"A100.*40GB", 40960, 312e12, 19.5e12, 1.555e12),
    Device("A100 80GB", r"A100", 81920, 312e12, 19.5e12, 2.0e12),
    Device("L40S", r"L40S", 46068, 362e12, 91.6e12, 0.864e12),
    Device("L4", r"\bL4\b", 23034, 121e12, 30.3e12, 0.3e12),
    Device("A10G", r"A10G", 23028, 70e12, 35e12, 0.6e12),
    Device("A10", r"\bA10\b", 23028, 125e12, 31.2e12, 0.6e12),
    Device("RTX 5090", r"RTX 5090", 32607, 209.5e12, 104.8e12, 1.792e12),
    Device("RTX 4090", r"RTX 4090", 24564, 165.2e12, 82.6e12, 1.008e12),
    Device("RTX 3090", r"RTX 3090", 24576, 71e12, 35.6e12, 0.936e12),
)

# A laptop's chip and a slice of a card bear the full card's name, with less of everything.
PART = r"\bLaptop\b|\bMIG\b"


def known_device(name: str) -> Device | None:
    """The data sheet of a device by the name its driver reports; None for one that is not in the table.

    >>> known_device("NVIDIA H100 80GB HBM3").bfloat16
    989000000000000.0
    """
    if re.search(PART, name, re.IGNORECASE):
        return None
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
