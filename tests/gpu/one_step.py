"""Three training steps of base on 10 s in bfloat16, launch by launch: a job for NVIDIA's profilers.

ncu -k regex:attention_mma --launch-count 4 python -m tests.gpu.one_step cuda
python -m tests.gpu.one_step emulator      a toy, without a GPU
"""

import sys

from minast.bench.gpu.backends import Side
from minast.bench.gpu.device import open_device
from minast.bench.gpu.whole import REAL, TOY


def main(backend: str, batch: int = 32, steps: int = 3) -> None:
    """Run the steps and print the last loss."""
    config, batch = (TOY, 2) if open_device(backend).toy else (REAL, batch)
    side = Side(backend, config, batch, "bfloat16")
    for _ in range(steps):
        loss, _ = side.model.loss_and_grad(side.x, side.y, add=False)
        side.adam.clipped_step(side.model.dw.flat, 1e-5, 0.0, copy=side.model.copy_to_update())
    print(f"{steps} steps of {batch} clips, loss {loss:.4f}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
