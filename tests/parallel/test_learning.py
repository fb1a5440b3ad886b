"""Steps of training on ranks that are threads: the steps of one process, whatever is spread and how."""

import math
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast import optim
from minast.config import ModelConfig, TrainConfig
from minast.parallel.gradients import Gradients
from minast.parallel.group import SINGLE, share_of
from minast.training import learner
from minast.training.learner import new_learner
from tests.parallel.threaded import together

SHAPE = ModelConfig(dim=32, depth=3, heads=2, frames=48, classes=4, tstride=16, fstride=16)
CONFIG = TrainConfig(batch=8, lr=1e-3, warmup=1, max_grad_norm=0.5, layer_decay=0.9, weight_decay=0.1)
BATCH = 8


@pytest.fixture(autouse=True)
def small_buckets(monkeypatch):
    """Several buckets, also of a small model."""
    monkeypatch.setattr(learner, "Gradients", lambda *args, **kw: Gradients(*args, **kw, bucket=2**13))
    monkeypatch.setenv("MINAST_THREADS", "1")


def clips(seed=0):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((BATCH, SHAPE.frames, SHAPE.mel_bins))
    return x, np.eye(SHAPE.classes)[rng.integers(SHAPE.classes, size=BATCH)]


def steps(group, config, dtype, count=3, keep=None, backend="numpy"):
    """A few steps of one rank.   -> losses, norms, weights, m, v, model"""
    student = new_learner(minast.AST(SHAPE, backend, 0, dtype), config, group=group)
    own, losses, norms = share_of(BATCH, group.rank, group.size), [], []
    for step in range(count):
        x, y = (array[own] for array in clips(step))
        loss, norm, logits = student.step(x, y, 1e-3, None if keep is None else keep[own])
        assert len(logits) == len(x)
        losses.append(loss)
        norms.append(norm)
    state = student.optimizer.state()
    return losses, norms, student.model.w.flat.copy(), state["m"], state["v"], student


def alike(found, expected, tolerance):
    for a, b in zip(found[:5], expected[:5], strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=tolerance)


SETTINGS = {
    "plain": {},
    "ZeRO-1": {"shard_optimizer": True},
    "parts": {"grad_accum": 4},
    "fixed": {"grad_accum": 4, "reduction": "fixed"},
    "frozen": {"freeze": 1, "shard_optimizer": True},
    "AST's Adam": {"optimizer": "adam", "layer_decay": 1.0, "weight_decay": 5e-7, "shard_optimizer": True},
    "checkpointing": {"activation_checkpointing": True},
}


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("name", SETTINGS)
def test_steps_are_those_of_one_process(name, size):
    config = replace(CONFIG, **SETTINGS[name])
    if name == "fixed" and size == 3:
        pytest.skip("3 is no power of 2, which is refused below")
    expected = steps(SINGLE, replace(config, reduction="fast"), "float64")
    assert expected[1][0] > CONFIG.max_grad_norm  # so that clipping is part of it
    found = together(size, lambda group: steps(group, config, "float64"))
    alike(found[0], expected, 1e-12)
    for each in found[1:]:
        assert np.array_equal(each[2], found[0][2]) and each[:2] == found[0][:2]


@pytest.mark.parametrize("settings", [{}, {"shard_optimizer": True}], ids=["all-reduce", "ZeRO-1"])
def test_in_fixed_order_the_bits_do_not_depend_on_the_ranks(settings):
    config = replace(CONFIG, grad_accum=4, reduction="fixed", **settings)
    expected = steps(SINGLE, replace(config, shard_optimizer=False), "float32")
    for size in (2, 4):
        found = together(size, lambda group: steps(group, config, "float32"))
        for a, b in zip(found[0][:5], expected[:5], strict=True):
            assert np.array_equal(a, b), size
    one_by_one = steps(SINGLE, replace(CONFIG, grad_accum=4), "float32")
    assert not np.array_equal(one_by_one[2], expected[2])  # another order of sums shows


def test_two_ranks_are_one_that_divides_its_batch():
    """In float32 to the bit: ranks differ from one process by what its own parts differ by, and by nothing else."""
    config = replace(CONFIG, max_grad_norm=0.0)  # two norms may be rounded otherwise
    one = steps(SINGLE, replace(config, grad_accum=2), "float32", backend="fast")
    for found in together(2, lambda group: steps(group, config, "float32", backend="fast")):
        assert all(np.array_equal(found[k], one[k]) for k in (2, 3, 4))


def test_patchout_goes_with_the_clip():
    keep = np.stack([np.sort(np.random.default_rng(i).permutation(24)[:10]) for i in range(BATCH)])
    expected = steps(SINGLE, CONFIG, "float64", keep=keep)
    for settings in ({}, {"grad_accum": 4, "reduction": "fixed"}):
        config = replace(CONFIG, **settings)
        found = together(2, lambda group, config=config: steps(group, config, "float64", keep=keep))
        alike(found[0], expected, 1e-12)


def test_in_bfloat16_all_ranks_still_agree():
    expected = steps(SINGLE, CONFIG, "float32")
    found = together(4, lambda group: steps(group, replace(CONFIG, wire="bfloat16"), "float32"))
    assert all(np.array_equal(each[2], found[0][2]) for each in found)
    np.testing.assert_allclose(found[0][0], expected[0], atol=0.02)
    assert not np.array_equal(found[0][2], expected[2])


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("shard", [False, True])
def test_one_gradient_that_is_not_finite_stops_the_step_of_all(bad, shard):
    def work(group):
        student = new_learner(minast.AST(SHAPE, "numpy", 0), replace(CONFIG, shard_optimizer=shard), group=group)
        before = student.model.w.flat.copy()
        student.scale.value, student.scale.most = 4.0, 4.0
        x, y = (array[share_of(BATCH, group.rank, group.size)] for array in clips())
        if group.rank == 1:
            inner = student.model.loss_and_grad

            def poisoned(*args, **options):
                found = inner(*args, **options)
                student.model.dw["patch_embed.proj.bias"][3] = bad  # the last bucket is yet to be sent
                return found

            student.model.loss_and_grad = poisoned
        with np.errstate(all="ignore"):
            _, norm, _ = student.step(x, y, 1e-3)
        assert np.array_equal(student.model.w.flat, before) and student.optimizer.t == 0
        return norm, student.scale.value

    for norm, scale in together(2, work):
        assert not math.isfinite(norm) and scale == 2.0


def test_a_loss_scale_is_taken_out_before_the_norm():
    def work(group, scale):
        student = new_learner(minast.AST(SHAPE, "numpy", 0, "float64"), CONFIG, group=group)
        student.scale.value = scale
        x, y = (array[share_of(BATCH, group.rank, group.size)] for array in clips())
        loss, norm, _ = student.step(x, y, 1e-3)
        return loss, norm, student.model.w.flat.copy()

    one, many = (together(2, lambda group, s=s: work(group, s))[0] for s in (1.0, 1024.0))
    assert one[0] == many[0] and one[1] == pytest.approx(many[1], rel=1e-12)
    np.testing.assert_allclose(one[2], many[2], rtol=0, atol=1e-12)


def test_moments_are_divided_and_come_together_in_a_checkpoint():
    config = replace(CONFIG, shard_optimizer=True)
    found = together(4, lambda group: steps(group, config, "float64"))
    whole = steps(SINGLE, CONFIG, "float64")[5].optimizer
    bytes_ = [sum(adam.m.nbytes + adam.v.nbytes for _, adam in each[5].optimizer.parts) for each in found]
    assert sum(bytes_) == whole.m.nbytes + whole.v.nbytes and max(bytes_) < 0.4 * sum(bytes_)
    assert [each[3] is None for each in found] == [False, True, True, True]
    state = {"m": found[0][3], "v": found[0][4], "t": 3}

    def resumed(group):
        student = new_learner(minast.AST(SHAPE, "numpy", 0, "float64"), config, group=group)
        student.optimizer.load_state(state)
        return student.optimizer.state()

    for size in (1, 2, 3):
        again = together(size, resumed)[0]
        assert all(np.array_equal(again[name], state[name]) for name in state)
    with pytest.raises(minast.Error, match="not one number for each of"):
        together(2, lambda group: resumed(group) and found[1][5].optimizer.load_state({"m": np.zeros(3), "v": None}))


def test_the_pass_tells_what_is_complete_and_nothing_changes_after():
    model = minast.AST(SHAPE, "numpy", 0, "float64")
    x, y = clips()
    for parts, frozen in ((1, 0), (4, 0), (2, 2)):
        model.frozen = frozen
        model.zero_grad()
        seen = []
        with model.telling(lambda i, seen=seen: seen.append((i, model.dw.flat[i:].copy()))):
            model.loss_and_grad(x, y, "ce", parts)
        places = [i for i, _ in seen]
        assert places == sorted(places, reverse=True) and len(set(places)) == SHAPE.depth + 1 - frozen
        assert places[-1] == (model.trained.start or model._place("blocks.0.norm1.weight"))
        for i, told in seen:
            assert np.array_equal(model.dw.flat[i:], told)
    assert model.told is None


def test_buckets_leave_before_the_pass_is_over():
    order = []

    def work(group):
        student = new_learner(minast.AST(SHAPE, "numpy", 0), CONFIG, group=group)
        model = student.model
        inner, begin = model.encoder.embed_backward, group.begin_all_reduce
        model.encoder.embed_backward = lambda *a: (group.rank or order.append("embeddings"), inner(*a))[1]
        group.begin_all_reduce = lambda *a: (group.rank or order.append("bucket"), begin(*a))[1]
        student.step(*(array[share_of(BATCH, group.rank, group.size)] for array in clips()), 1e-3)
        return len(student.gradients.buckets)

    count = together(2, work)[0]
    assert order.count("bucket") == count >= 4 and order.index("embeddings") >= count - 2


@pytest.mark.parametrize(
    ("settings", "size", "sentence"),
    [
        ({"batch": 2}, 4, "a batch of 2 clips cannot be divided among 4 processes"),
        ({"reduction": "fixed", "grad_accum": 6}, 2, "here 6 of 8 clips, in pairs: that must be a power of 2"),
        ({"reduction": "fixed", "grad_accum": 2}, 4, "a multiple of the processes, here 4"),
        ({"reduction": "fixed", "grad_accum": 4, "wire": "bfloat16"}, 2, "leave it out"),
    ],
)
def test_what_cannot_be_divided(settings, size, sentence):
    with pytest.raises(minast.Error, match=sentence):
        together(size, lambda group: steps(group, replace(CONFIG, **settings), "float32"))


def test_a_process_alone_has_no_more_than_before():
    student = new_learner(minast.AST(SHAPE, "numpy", 0), CONFIG)
    assert student.gradients is None and type(student.optimizer) is optim.Adam
