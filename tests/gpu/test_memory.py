"""Planned memory: places that never overlap while both are needed, lifetimes, what a step asks for."""

import gc
import weakref

import numpy as np
import pytest

from minast import AST, ModelConfig
from minast.errors import Error
from minast.gpu import memory
from minast.gpu.executor import planned
from minast.gpu.memory import Arena, FreeList, Plan, Planner


@pytest.mark.parametrize("seed", range(5))
def test_a_region_never_gives_one_place_twice(seed):
    """A thousand random requests and returns against a plain list of what is taken; afterwards all is one gap."""
    rng, region, taken = np.random.default_rng(seed), FreeList(), {}
    for _ in range(1000):
        if taken and rng.random() < 0.49:
            offset = list(taken)[rng.integers(len(taken))]
            region.give(offset, taken.pop(offset))
            continue
        size = 256 * int(rng.integers(1, 9))
        offset = region.take(size)
        assert all(offset + size <= o or o + s <= offset for o, s in taken.items())
        assert offset + size <= region.length
        taken[offset] = size
    for offset, size in taken.items():
        region.give(offset, size)
    assert region.gaps == [(0, region.length)]


def test_the_lowest_gap_that_fits_is_taken_and_the_last_one_grows():
    region = FreeList()
    assert [region.take(n) for n in (256, 512, 256)] == [0, 256, 768]
    region.give(256, 512)
    assert region.take(256) == 256 and region.take(512) == 1024  # the gap of 256 that is left is too short
    region.give(1024, 512)
    assert region.take(1024) == 1024 and region.length == 2048


def test_a_planner_follows_the_last_reference():
    planner = Planner()
    with memory.using(planner):
        x = np.zeros(1, np.float32)
        first = memory.empty(x, (10, 30))
        view = first[2:].T
        del first  # the view keeps it
        second = memory.empty(x, 100, np.float16)
        del view
        third = memory.empty(x, (), np.float64)
    assert planner.plan() == Plan(((1280, 0), (256, 1280), (256, 0)), 1536)
    del second, third
    gc.collect()
    assert planner.free.gaps == [(0, 1536)]


def test_an_arena_gives_the_places_of_the_plan():
    planner, x = Planner(), np.zeros(3, np.float32)

    def step():
        a = memory.empty(x, (2, 5))
        b = memory.empty(x, 7, np.float64)
        del a
        return b, memory.empty(x, 3, np.uint16)

    with memory.using(planner):
        kept = step()
    del kept
    arena = Arena(np)
    with arena.step(planner.plan()):
        first = step()
    with arena.step(planner.plan()):
        second = step()
    starts = [[a.ctypes.data - arena.buffer.ctypes.data for a in arrays] for arrays in (first, second)]
    assert starts == [[256, 0]] * 2 and arena.buffer.ctypes.data % memory.ALIGN == 0
    assert [(a.shape, a.dtype.name) for a in first] == [((7,), "float64"), ((3,), "uint16")]
    assert memory.empty(x, 4).base is None  # outside, NumPy's own


def test_a_step_that_asks_for_something_else_is_refused():
    arena, x = Arena(np), np.zeros(1, np.float32)
    for wrong in (lambda: memory.empty(x, 100), lambda: [memory.empty(x, 4), memory.empty(x, 4)]):
        with arena.step(Plan(((256, 0),), 256)), pytest.raises(Error, match=r"of this step .* not what was planned"):
            wrong()


def test_a_larger_plan_lets_the_old_buffer_go_first():
    arena = Arena(np)
    with arena.step(Plan(((256, 0),), 256)):
        memory.empty(np.zeros(1, np.float32), 1)
    old = weakref.ref(arena.buffer)
    with arena.step(Plan(((1024, 0),), 1024)):
        assert arena.bytes == 1024 and old() is None
    with arena.step(Plan(((256, 0),), 256)):
        assert arena.bytes == 1024


CONFIG = ModelConfig.preset("base", prefix_tokens=2)  # 1214 tokens
WIDTH = CONFIG.tokens * CONFIG.dim


def step_bytes(clips, activation_checkpointing=False):
    model = AST(CONFIG, "emulator", None, "bfloat16", activation_checkpointing)
    x, y = np.empty((clips, 1024, 128), np.float32), np.empty((clips, 527), np.float32)
    return planned(model._step, (x, y), (("x", "y"), "bce", 1.0, 0, True)).bytes


def test_what_a_training_step_of_base_needs():
    """28 bytes are kept for each clip, block and number of a token (tests/bench/test_whole.py); the rest comes once."""
    two, four = step_bytes(2), step_bytes(4)
    kept = 28 * (CONFIG.depth - 1) * WIDTH
    a_clip = (four - two) / 2
    assert kept < a_clip < 1.25 * kept
    assert step_bytes(4, activation_checkpointing=True) < 0.35 * four


def test_forward_keeps_nothing():
    model, x = AST(CONFIG, "emulator", None, "bfloat16"), np.empty((2, 1024, 128), np.float32)
    assert planned(model._logits, (x,)).bytes < 2 * 100 * WIDTH  # the arrays of one block, not of twelve


def test_threads_take_turns():
    """Four threads on one model, whose passes all use the same memory."""
    from concurrent.futures import ThreadPoolExecutor

    from tests.kernel_cases import need_compiler

    need_compiler()
    config = ModelConfig.preset("nano", dim=32, heads=2, depth=1, mel_bins=32, frames=46, classes=5)
    model, rng = AST(config, "emulator", dtype="bfloat16"), np.random.default_rng(0)
    clips = [rng.standard_normal((n % 3 + 1, 46, 32)).astype(np.float32) for n in range(24)]
    alone = [model.forward(x) for x in clips]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.forward, clips))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
