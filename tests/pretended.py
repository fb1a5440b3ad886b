"""A stand-in for a GPU in the tests of the benchmark, and rows as one would have given them."""

import numpy as np

from minast.bench.gpu import rows
from minast.bench.gpu.device import Device
from minast.bench.kernels.attention import GOALS, VERSIONS
from minast.bench.row import Skip


class Pretended(Device):
    """NumPy that the rows take for a GPU: with ceilings, libraries and a table."""

    def __init__(self, bandwidth=None, torch=None):
        self.gpu, self.xp, self.name, self.timed = True, np, "Pretended GPU", 0
        self.bandwidth, self.module = bandwidth, torch

    def torch(self):
        if self.module is None:
            raise Skip("no torch")
        return self.module

    def copy_bandwidth(self, rounds):
        return self.bandwidth or super().copy_bandwidth(rounds, size=2**16)

    def gemm_peak(self, rounds, dtype):
        return super().gemm_peak(rounds, dtype, n=64)

    def free(self):
        return 2**40

    def interleaved(self, functions, rounds, idle=False, apart=False):
        self.timed += len(functions)
        for function in functions:
            function()
        return np.full((len(functions), rounds), 0.001)

    def release(self):
        pass


def ladder_rows(name="Pretended GPU", flop=1e9):
    """Rows of the attention benchmark: version r takes 1 / (1 + r) ms for 1 GFLOP, flash 0.1 ms, cuBLAS 20 TFLOP/s."""
    device, done = Device(gpu=False), []
    device.name = name
    for dtype, versions in VERSIONS.items():
        for version in versions:
            ours = np.full(3, 1e-3 / (1 + version))
            beside = {"torch: flash": np.full(3, 1e-4), "torch: math": np.full(3, 1e-2)}
            goals = [GOALS["forward", dtype]] if ("forward", dtype) in GOALS and version == versions[-1] else []
            more = {
                "job": "attention forward",
                "version": version,
                "goals": goals,
                "without": {"torch: cudnn": "no kernel"},
            }
            title, kind = f"attention, version {version}, {dtype}", f"cuBLAS's {dtype} GEMM"
            done.append(rows.row(device, title, dtype, ours, flop, "GFLOP/s", 20e12, kind, libraries=beside, **more))
    return done
