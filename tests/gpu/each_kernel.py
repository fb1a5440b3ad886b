"""Launches every kernel of kernels/ at least once, at toy size: a short job for NVIDIA's compute-sanitizer.

  MINAST_PLAIN_MEMORY=1 compute-sanitizer --tool memcheck python -m tests.gpu.each_kernel cuda
  python -m tests.gpu.each_kernel emulator      the same launches without a GPU

Results are not compared here, the test suite does that. Exit status 1 if a job fails or a kernel was not launched.
"""

import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial

import numpy as np

from minast import AST, ModelConfig, cuda
from minast.bench.gpu.device import DTYPES, Device, cast, open_device
from minast.bench.kernels import attention
from minast.bench.kernels.cases import cases
from minast.bench.kernels.cases.case import TOY
from minast.bench.row import reason
from minast.cuda import tf32
from minast.gpu import kernel_source
from minast.text import counted
from tests.kernel_cases import noting

MODEL = ModelConfig.preset("nano", dim=32, heads=2, depth=2, mel_bins=32, frames=46, classes=5, prefix_tokens=2)


def jobs(device: Device, backend: str) -> Iterator[tuple[str, Callable]]:
    """(name, function to call) of all jobs: the cases of the benchmark, all versions of attention, training steps."""
    for dtype in DTYPES:
        for case in cases(device, TOY, dtype):
            yield f"{case.name}, {dtype}", case.call
        B, H, N, D = attention.TOY
        qkv, do = (cast(device.normal(B, N, C, seed=C), dtype) for C in (3 * H * D, H * D))
        can_run = cuda.attention_versions(qkv, H)
        for version, warpgroups in attention.rungs(dtype, can_run):
            call = partial(cuda.attention_forward, qkv, H, version=version, warpgroups=warpgroups)
            yield f"attention, version {version}, {dtype}", call
        cache = cuda.attention_forward(qkv, H)[1]
        for version in set(attention.BACKWARD[dtype]) & set(can_run):
            how = {} if dtype == "float32" else {"version": version}
            yield f"attention backward, {version}, {dtype}", partial(cuda.attention_backward, do, cache, **how)
        if dtype == "float32":
            for fragments in (1, 2):
                name = f"attention, TF32, {counted(fragments, 'fragment')}"
                yield name, partial(tf32.attention_forward, qkv, H, fragments)
            cache = tf32.attention_forward(qkv, H)[1]
            yield "attention backward, TF32", partial(tf32.attention_backward, do, cache)
        yield f"training step, {dtype}", partial(training_step, backend, dtype)


def training_step(backend: str, dtype: str) -> None:
    """One step of a small model, with everything that only a whole model launches."""
    model, rng = AST(MODEL, backend, dtype=dtype), np.random.default_rng(0)
    x = rng.standard_normal((2, MODEL.frames, MODEL.mel_bins)).astype(np.float32)
    model.loss_and_grad(x, rng.random((2, MODEL.classes)).astype(np.float32), "bce")
    model.loss_and_grad(x, np.array([0, 4]), "ce")
    adam = model.backend.Adam(model.w.flat)
    adam.clipped_step(model.dw.flat, 1e-3, 1.0, model.copy_to_update())


def templates(device: Device) -> set[str]:
    """The names of all kernels that this device can run, without template arguments."""
    files = [kernel_source.load(path.name) for path in sorted(kernel_source.folder().glob("*.cu"))]
    capability = device.xp.cuda.Device().compute_capability if device.gpu else "90"
    return {name for file in files if file.capability.rstrip("a") in ("", capability) for name in file.kernels}


def main(backend: str) -> int:
    """Run all jobs, print what failed and what was left out; returns the exit status."""
    device, failed = open_device(backend), []
    with noting() as seen:
        for name, call in jobs(device, backend):
            try:
                call()
                if device.gpu:
                    device.xp.cuda.Device().synchronize()  # an error belongs to this job
            except Exception as error:
                failed.append(f"{name}: {reason(error)}")
    launched = {name for name in seen if " x " not in name}  # without the products
    kernels = {name.split("<")[0] for name in launched}
    left_out = sorted(templates(device) - kernels)
    print(f"{len(launched)} instantiations of {len(kernels)} kernels on {device.name}")
    for line in [*failed, *(f"{name}: was not launched" for name in left_out)]:
        print(line)
    return int(bool(failed or left_out))


if __name__ == "__main__":
    with suppress(BrokenPipeError):
        sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else "cuda"))
