"""Which points are measured: what grows, what is done, at which sizes; what cost should be proportional to."""

from dataclasses import dataclass, field

from ... import threads
from ...config import PRESETS, ModelConfig
from .. import counted

AXES = {  # what grows, and its unit
    "length": ("length of a clip", "s"),
    "batch": ("clips in a batch", ""),
    "width": ("width of the model", ""),
    "threads": ("threads", ""),
    "clips": ("clips of a data set", ""),
}
JOBS = {  # what is done, and whether memory says anything that another job of the same axis does not
    "forward": ("forward pass", True),
    "step": ("training step", True),
    "manifest": ("reading a manifest", True),
    "prepare": ("labels and order of an epoch", True),
    "batches": ("ten batches of 32", False),
}
MODEL = {"forward": (counted.forward_flop, counted.forward_bytes), "step": (counted.step_flop, counted.step_bytes)}
BETWEEN = {576: 9}  # a width between small's and base's, with heads as wide, so that a slope has three points


@dataclass(frozen=True)
class Point:
    """One measurement to make. x: of what grows; work: what its time, size: what its memory should be proportional to.

    settings: the arguments of the job, a function of `jobs.JOBS`.
    """

    axis: str
    job: str
    x: float
    work: float
    size: float
    settings: dict = field(hash=False)
    threads: int = 1

    @property
    def curve(self) -> tuple[str, str]:
        """The name of the curve that it is on."""
        return self.axis, self.job


@dataclass(frozen=True)
class Plan:
    """The sizes of a run. Everything but what grows on an axis stays as the other fields say."""

    seconds: tuple[float, ...]
    batches: tuple[int, ...]
    widths: tuple[int, ...]
    clips: tuple[int, ...]
    long: dict  # the model whose clips grow, and below: the others
    batched: dict
    wide: dict
    threaded: dict
    said: dict[str, str]  # for each axis, what stays as it is


FULL = Plan(
    seconds=(1, 2, 5, 10, 20, 30, 60),
    batches=(1, 2, 4, 8, 16, 32, 64),
    widths=tuple(sorted({p["dim"] for p in PRESETS.values()} | {*BETWEEN})),
    clips=(100, 1000, 10_000, 100_000, 1_000_000),
    long={**PRESETS["small"]},
    batched={**PRESETS["small"], "frames": 98},
    wide={"frames": 998},
    threaded={**PRESETS["base"], "frames": 998},
    said={
        "length": "small, one clip",
        "batch": "small, clips of 1 s",
        "width": "12 blocks, one clip of 10 s; nano, tiny, small and base, and 576 between",
        "threads": "base, one clip of 10 s",
        "clips": "made-up sounds, 256 files for all of them",
    },
)
TOY = {"depth": 2, "dim": 32, "heads": 1, "classes": 10}
REHEARSAL = Plan(  # toy sizes
    seconds=(0.5, 1, 2),
    batches=(1, 2, 4),
    widths=(16, 32, 64),
    clips=(100, 300, 1000),
    long=TOY,
    batched={**TOY, "frames": 48},
    wide={"depth": 2, "classes": 10, "frames": 48},
    threaded={**TOY, "frames": 48},
    said=dict.fromkeys(AXES, "toy size"),
)


def points(plan: Plan, axes: list[str] | None = None) -> list[Point]:
    """All points of these axes (default: all), curve by curve, each from its smallest to its largest."""
    makers = {"length": _length, "batch": _batch, "width": _width, "threads": _threads, "clips": _clips}
    return [point for axis in AXES if not axes or axis in axes for point in makers[axis](plan)]


def _length(plan):
    yield from _of_models("length", [(s, {**plan.long, "frames": round(100 * s) - 2}, 1) for s in plan.seconds])


def _batch(plan):
    yield from _of_models("batch", [(n, plan.batched, n) for n in plan.batches])


def _width(plan):
    heads = {p["dim"]: p["heads"] for p in PRESETS.values()} | BETWEEN
    yield from _of_models("width", [(d, {**plan.wide, "dim": d, "heads": heads.get(d, 1)}, 1) for d in plan.widths])


def _threads(plan):
    """As many as this machine has, and halves of it."""
    numbers, n = [], threads.count()
    while n:
        numbers.insert(0, n)
        n //= 2
    for point in _of_models("threads", [(n, plan.threaded, 1) for n in numbers]):
        yield Point("threads", point.job, point.x, point.work / point.x, point.size, point.settings, int(point.x))


def _of_models(axis, sizes):
    """Forward passes, then training steps.   sizes: [(x, settings of the model, clips in a batch)]"""
    for job, (flop, size) in MODEL.items():
        for x, settings, batch in sizes:
            settings = {"prefix_tokens": 2, **settings}  # as the official AST has them
            config, arguments = ModelConfig(**settings), {"model": settings, "batch": batch}
            yield Point(axis, job, x, flop(config, batch), size(config, batch), arguments, threads.count())


def _clips(plan):
    for job in ("manifest", "prepare", "batches"):
        for n in plan.clips:
            yield Point("clips", job, n, 1 if job == "batches" else n, n, {"clips": n}, threads.count())
