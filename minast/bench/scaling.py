"""What more processes cost and bring: a prediction for 1 to 1024 GPUs, and what this machine does beside it.

  python -m minast.bench scaling                          the prediction alone, which measures nothing
  mpiexec -n 2 python -m minast.bench scaling             and steps of these processes, predicted and measured
  mpiexec -n 2 python -m minast.bench scaling --preset small --json FILE

Measured are: the sums alone, of which bandwidth and latency come; a step without them; with them after the backward
pass; with them while it goes on; and the memory of the optimizer's moments, whole and sharded. Give each process its
own cores, and --threads 1 on two: sums on a processor take the cores that the pass wants.
"""

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from .. import cli, parallel
from ..config import PRESETS, ModelConfig, TrainConfig
from ..console.arguments import number, whole
from ..model import AST
from ..parallel.gradients import buckets
from ..parallel.scaling import Cluster, Link, predicted
from ..parallel.scaling import step as predicted_step
from ..storage.files import atomic
from ..training.learner import new_learner
from . import readme
from .table import number as shown

PAGE = Path(parallel.__file__).with_name("README.md")
RANKS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
FLOP = 3 * 242e9  # of a clip of 10 s through base, forward and backward: `minast bench profile` counts 242 forward
SIZES = (2**12, 2**22)  # elements of the sums that give latency and bandwidth


def main(argv=None):
    """The command.   -> exit status"""
    with parallel.joined() as group:
        args = parser().parse_args(argv)
        cluster = Cluster(Link(args.inside * 1e9, args.latency * 1e-6), Link(args.outside * 1e9, args.latency * 1e-6))
        found = {"predicted": table(args, cluster)}
        if args.readme and not group.rank:
            readme.write(PAGE, "scaling", "\n".join(found["predicted"]))
        print("\n".join(found["predicted"]))
        if group.size > 1:
            found["measured"] = measured(args, group)
            print("\n".join(sentences(found["measured"], group.size)))
        if args.json and not group.rank:
            with atomic(args.json, "w", encoding="utf-8") as f:
                json.dump(found, f, indent=1)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("bench scaling", __doc__)
    p.add_argument(
        "--inside",
        type=number(0, 1e6, above=True),
        metavar="GB/S",
        default=450.0,
        help="between GPUs of a machine, assumed (default: 450)",
    )
    p.add_argument(
        "--outside",
        type=number(0, 1e6, above=True),
        metavar="GB/S",
        default=50.0,
        help="of each GPU to other machines, assumed (default: 50)",
    )
    p.add_argument(
        "--latency",
        type=number(0, 1e6),
        metavar="US",
        default=10.0,
        help="of a message in microseconds, assumed (default: 10)",
    )
    p.add_argument(
        "--tflops",
        type=number(0, 1e6, above=True),
        metavar="N",
        default=300.0,
        help="what a GPU does in training, assumed (default: 300)",
    )
    p.add_argument(
        "--batch",
        type=whole(1, 10**6),
        metavar="N",
        default=32,
        help="clips of each GPU, and of all in strong scaling 64 times as many (default: 32)",
    )
    p.add_argument("--preset", choices=PRESETS, default="tiny", help="model that is measured here (default: tiny)")
    p.add_argument(
        "--clips", type=whole(1, 1000), metavar="N", default=8, help="clips of each process here (default: 8)"
    )
    p.add_argument("--rounds", type=whole(1, 10000), metavar="N", default=7, help="timed rounds (default: 7)")
    p.add_argument(
        "--link",
        type=number(0, 1e6, above=True),
        metavar="GB/S",
        help="let sums here take as long as over such a link, on which they cost no processor time",
    )
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    p.add_argument("--readme", action="store_true", help="write the prediction into minast/parallel/README.md")
    cli.add_threads(p)
    return p


# -- on paper ------------------------------------------------------------------------------------------------------


def table(args, cluster) -> list[str]:
    """Base on clips of 10 s, by the number of GPUs: weak scaling, then strong."""
    size = AST(ModelConfig.preset("base"), "numpy", None).w.flat.size
    clip, update = FLOP / (args.tflops * 1e12), 28.0 * size / 2e12  # Adam reads and writes 7 floats a weight
    lines = [
        "| GPUs | weak: step | hidden | efficiency | strong: step | hidden | efficiency |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    alone = {}
    for ranks in RANKS:
        cells = [str(ranks)]
        for kind, clips in (("weak", args.batch), ("strong", 64 * args.batch / ranks)):
            messages = [4.0 * (s.stop - s.start) for s in buckets(size, ranks)]
            found = predicted(ranks, clips, clip, update, messages, cluster)
            each = found.total / clips  # seconds of a clip on one GPU
            alone.setdefault(kind, each)
            cells += [shown(found.total, "s"), f"{found.hidden:.0%}" if ranks > 1 else "", f"{alone[kind] / each:.0%}"]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


# -- here ----------------------------------------------------------------------------------------------------------


def medians(group, rounds: int, works: Sequence[Callable[[], object]]) -> list[float]:
    """Seconds of each on the slowest rank: they alternate, and a first round is not timed."""
    times = np.empty((rounds + 1, len(works)))
    for row in times:
        for i, work in enumerate(works):
            group.barrier()
            began = time.perf_counter()
            work()
            row[i] = time.perf_counter() - began
    slowest = group.gather(times[1:].ravel()).max(axis=0).reshape(rounds, -1)
    return np.median(slowest, axis=0).tolist()


class Held:
    """A request that is not done before a time."""

    def __init__(self, request, until: float):
        self.request, self.until = request, until

    def Test(self) -> bool:  # as MPI's are asked
        """Whether it is done."""
        return time.monotonic() >= self.until and self.request.Test()


def slow_down(group, bandwidth: float) -> None:
    """Let sums take as long as a ring over a link of `bandwidth` bytes a second, one after the other."""
    inner, free = group._sum, [0.0]

    def held(part):
        takes = 2 * (group.size - 1) / group.size * part.nbytes / bandwidth
        free[0] = max(free[0], time.monotonic()) + takes
        return Held(inner(part), free[0])

    group._sum = held


def link(group, rounds: int) -> Link:
    """Bandwidth and latency as a ring of these ranks has them, from two sums."""
    parts = [np.ones(n, np.float32) for n in SIZES]
    works = [lambda part=part: group.wait([group.begin_all_reduce(part)]) for part in parts]
    times = medians(group, rounds, works)
    ranks, (small, large) = group.size, times
    moved = 2 * (ranks - 1) / ranks * 4
    bandwidth = moved * (SIZES[1] - SIZES[0]) / max(large - small, 1e-9)
    return Link(bandwidth, max(0.0, small - moved * SIZES[0] / bandwidth) / (2 * (ranks - 1)))


def measured(args, group) -> dict:
    """Steps of a model on made-up clips, in four ways, and the bytes of the moments."""
    config = TrainConfig(batch=args.clips * group.size)
    shape = ModelConfig.preset(args.preset, classes=10, frames=256)
    rng = np.random.default_rng(group.rank)
    x = rng.standard_normal((args.clips, shape.frames, shape.mel_bins)).astype(np.float32)
    y = np.eye(10, dtype=np.float32)[rng.integers(10, size=args.clips)]
    learner = new_learner(AST(shape, "fast"), config, group=group)
    gradients, model = learner.gradients, learner.model
    messages = [4.0 * (s.stop - s.start) for s in gradients.buckets]

    def alone():
        model.zero_grad()
        model.loss_and_grad(x, y, config.loss)

    def after():
        alone()
        sums()

    def sums():
        flat = model.dw.flat
        group.wait([group.begin_all_reduce(flat[s]) for s in gradients.buckets])

    waits, wait = [], group.wait

    def timed(begun):
        began = time.perf_counter()
        wait(begun)
        waits.append(time.perf_counter() - began)

    def overlapped():
        group.wait = timed
        gradients(model, x, y, config.loss)
        group.wait = wait

    if args.link:
        slow_down(group, args.link * 1e9)
    wire = link(group, args.rounds)
    works = (alone, sums, after, overlapped)
    times = dict(zip((work.__name__ for work in works), medians(group, args.rounds, works), strict=True))
    left = float(np.median(group.gather(waits[1:]).min(axis=0)))  # the rank whose pass ends last waits for sums alone
    each = [times["sums"] * size / sum(messages) for size in messages]
    guess = predicted_step(times["alone"], 0.0, messages, each)
    sharded = new_learner(AST(shape, "fast"), TrainConfig(batch=config.batch, shard_optimizer=True), group=group)
    return {
        "ranks": group.size,
        "weights": model.parameters,
        "bytes": sum(messages),
        "bandwidth": wire.bandwidth,
        "latency": wire.latency,
        **times,
        "predicted": guess.total,
        "predicted_hidden": guess.hidden,
        "predicted_sums": sum(ring(size, group.size, wire) for size in messages),
        "waited": left,
        "hidden": 1 - left / times["sums"],
        "moments": moments(learner.optimizer),
        "moments_sharded": int(group.gather([moments(sharded.optimizer)]).max()),
    }


def ring(size: float, ranks: int, wire: Link) -> float:
    """Seconds of a sum, as `link` has measured it."""
    return 2 * (ranks - 1) * (size / ranks / wire.bandwidth + wire.latency)


def moments(optimizer) -> int:
    """Bytes of a rank's moments."""
    return sum(adam.m.nbytes + adam.v.nbytes for _, adam in optimizer.parts)


def sentences(found: dict, ranks: int) -> list[str]:
    """What was measured, for people."""
    seconds = {name: shown(found[name], "s") for name in ("alone", "sums", "after", "overlapped", "predicted")}
    return [
        "",
        f"here: {ranks} processes, {found['weights'] / 1e6:.2f} M weights, {found['bytes'] / 1e6:.1f} MB a sum",
        f"  a link of {found['bandwidth'] / 1e9:.2f} GB/s and {found['latency'] * 1e6:.0f} µs; by it the sums take "
        f"{shown(found['predicted_sums'], 's')}, measured {seconds['sums']}",
        f"  passes alone {seconds['alone']}, sums after them {seconds['after']}, sums meanwhile {seconds['overlapped']}"
        f" (predicted {seconds['predicted']})",
        f"  after the pass {shown(found['waited'], 's')} of the sums are left: {found['hidden']:.0%} are hidden "
        f"(predicted {found['predicted_hidden']:.0%})",
        f"  moments {found['moments'] / 1e6:.1f} MB a process, sharded {found['moments_sharded'] / 1e6:.1f} MB",
    ]


if __name__ == "__main__":
    cli.run(main)
