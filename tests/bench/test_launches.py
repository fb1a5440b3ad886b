"""The list of what a training step asks for: counted against formulas, on shapes alone."""

import numpy as np
import pytest

from minast import cuda
from minast.bench.counted import flops
from minast.bench.kernels import launches
from minast.bench.kernels.recorder import recording
from minast.config import ModelConfig
from minast.gpu import dry_run
from minast.model import AST

CONFIG = ModelConfig.preset("tiny", frames=96, classes=7, prefix_tokens=2, depth=3)


def total(done, name, **which):
    return sum(getattr(w, name) for w in done if all(getattr(w, k) == v for k, v in which.items()))


@pytest.mark.parametrize("batch", [1, 5])
def test_arithmetic_is_that_of_the_formula(batch):
    done, c = launches.step(CONFIG, batch, "bfloat16"), CONFIG
    assert total(done, "flops", phase="forward") == batch * (flops(c) + 2 * c.dim * c.classes)  # and the head
    square = 2 * batch * c.tokens**2 * c.dim * (c.depth - 1)
    few = 2 * batch * c.prefix_tokens * c.tokens * c.dim  # the last block's attention
    patches = 2 * batch * (c.tokens - 2) * 256 * c.dim
    products = total(done, "flops", phase="forward") - 2 * square - 2 * few
    backward = 2 * products - patches + 7 * square + 5 * few  # no gradient of the input
    assert total(done, "flops", phase="backward") == backward
    assert total(done, "flops", phase="update") == 0


def test_bytes_of_a_few_kernels():
    done = launches.step(CONFIG, 4, "float16")
    n = AST(CONFIG, "emulator", seed=None).w.flat.size
    adam = next(w for w in done if w.name.startswith("adam_step<__half"))
    assert (adam.read, adam.written) == (16 * n + 4, 14 * n)  # g, w, m, v, norm; w, m, v, copy
    rows = 4 * CONFIG.tokens * CONFIG.dim
    norms = [w for w in done if w.name.startswith("residual_norm_forward") and w.shape == f"4 x {CONFIG.tokens} x 192"]
    *whole, prefix = norms  # the last reads and writes two tokens of each clip
    assert [w.read // rows for w in whole] == [4, 6, 6, 6, 6] and [w.written // rows for w in whole] == [2, 6, 6, 6, 6]
    few = 4 * CONFIG.prefix_tokens * CONFIG.dim
    assert 6 * few <= prefix.read < 8 * few and 6 * few <= prefix.written < 7 * few
    dkv = next(w for w in done if w.name.startswith("attention_mma_dkv"))
    assert 4 * rows <= dkv.written < 4.2 * rows  # keys' and values' gradients, in 16 bits, and their sums
    qkv = next(w for w in done if w.name.startswith("attention_mma_lean"))
    assert 6 * rows <= qkv.read < 6.2 * rows
    assert 4 * rows <= qkv.written < 4.1 * rows  # out, and the queries with their bias
    attend = next(w for w in done if w.name.startswith("class_attention_backward"))
    assert 4 * rows <= attend.read < 4.2 * rows and 4 * rows <= attend.written < 4.1 * rows  # kv, dkv
    gelu = [w for w in done if w.name.startswith("gelu_backward")]
    assert len(gelu) == 3 and not [w for w in done if w.shape.endswith("x 768") and "column_partials" in w.name]
    assert 16 * rows <= gelu[1].written < 19 * rows  # dx, and the output once more


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_pass_that_overwrites_reads_each_gradient_once_less(dtype):
    """All but what a second prefix token adds to; the same launches, which write as much."""
    model = AST(CONFIG, "emulator", seed=None, dtype=dtype)
    x, y = np.zeros((4, CONFIG.frames, CONFIG.mel_bins), np.float32), np.zeros((4, CONFIG.classes), np.float32)

    def recorded(add):
        with recording() as r:
            model.loss_and_grad(x, y, wait=False, add=add)
        return r.done

    adds, writes = recorded(True), recorded(False)
    assert total(adds, "read") - total(writes, "read") == 4 * model.parameters
    assert [(w.kind, w.shape, w.written) for w in adds] == [(w.kind, w.shape, w.written) for w in writes]


def test_a_step_overwrites():
    done, c = launches.step(CONFIG, 4, "float16"), CONFIG
    assert {w.shape for w in done if w.name == "to float32, added"} == {
        f"4 x {c.dim} x {c.classes}",  # the head's product is added to its bias
        f"{c.dim} x 4 x {c.dim}",  # the second prefix token's to the first's
    }
    assert {w.kind for w in done} == {"kernel", "product"}


def test_nobody_is_recording_afterwards():
    launches.step(CONFIG, 1, "bfloat16")
    assert dry_run.current_recorder() is None


def test_the_list_is_that_of_a_real_step():
    """Kernels and products of a step that does run, in the same order and with the same shapes."""
    from tests.kernel_cases import need_compiler, noting

    need_compiler()
    config = ModelConfig.preset("nano", frames=32, mel_bins=32, classes=3, depth=2)
    listed = launches.step(config, 2, "bfloat16")
    model, x, y = AST(config, "emulator", dtype="bfloat16"), np.zeros((2, 32, 32), np.float32), np.zeros((2, 3))
    adam = cuda.Adam(model.w.flat)
    model.forward(x)
    with noting() as seen:
        model.loss_and_grad(x, y)
        adam.clipped_step(model.dw.flat, 1e-3, 1.0, model.copy_to_update())
    assert seen == [w.name if w.kind == "kernel" else w.shape for w in listed]


def test_the_table():
    rows = launches.table(launches.step(CONFIG, 2, "bfloat16")).split("\n")
    assert rows[-1].startswith("| **step** | all | |") and len({r.count("|") for r in rows}) == 1
    names = [r for r in rows if "residual_norm_backward<__nv_bfloat16,2>" in r]
    assert names and sum(int(r.split("|")[4]) for r in rows if "**" in r and "step" not in r) == int(
        rows[-1].split("|")[4]
    )
