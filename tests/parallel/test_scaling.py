"""The prediction, and the page that quotes the source."""

import re
import textwrap
from pathlib import Path

import pytest

import minast
from minast.bench import readme, scaling
from minast.parallel.scaling import Cluster, Link, all_reduce, finish, over_machines, predicted, step

ROOT = Path(minast.__file__).resolve().parents[1]
LINK = Link(1e9, 1e-3)


def test_a_sum_is_the_faster_of_ring_and_tree():
    assert all_reduce(1e9, 1, LINK) == 0
    assert all_reduce(1e9, 2, LINK) == pytest.approx(1.0 + 2e-3)  # ring: half of it twice
    assert all_reduce(1e9, 4, LINK) == pytest.approx(1.5 + 6e-3)
    assert all_reduce(8, 1024, LINK) == pytest.approx(20e-3, rel=1e-3)  # tree: 2 log2 R rounds instead of 2046


def test_machines_share_what_leaves_them():
    cluster = Cluster(Link(1e12, 0), Link(1e9, 0), each=8)
    assert over_machines(8e9, 8, cluster) == pytest.approx(0.014)
    assert over_machines(8e9, 16, cluster) == pytest.approx(0.014 + 1.0)  # each GPU sends an eighth


def test_buckets_wait_for_the_pass_and_for_each_other():
    assert finish([1, 2, 3], [0.5, 0.5, 0.5]) == 3.5
    assert finish([1, 2, 3], [2, 2, 2]) == 7
    none, some = step(3.0, 0.5, [1, 1], [0.0, 0.0]), step(3.0, 0.5, [1, 1], [0.5, 0.5])
    assert none.total == 3.5 and none.hidden == 1
    assert some.total == pytest.approx(4.0) and some.hidden == pytest.approx(0.5)  # the last bucket is never hidden


def test_more_gpus_never_take_longer_at_the_same_batch_until_the_latency_counts():
    cluster = Cluster(Link(450e9, 1e-5), Link(50e9, 1e-5))
    times = [predicted(ranks, 2048 / ranks, 2e-3, 1e-3, [2e7] * 17, cluster).total for ranks in (1, 2, 4, 8, 16, 64)]
    assert times == sorted(times, reverse=True)


def test_the_page_has_the_lines_of_the_source_and_the_table_of_the_code():
    page = scaling.PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    for path, lines in blocks:
        assert lines in (ROOT / path).read_text(encoding="utf-8"), f"{path} has other lines:\n{textwrap.dedent(lines)}"
    args = scaling.parser().parse_args([])
    cluster = Cluster(Link(args.inside * 1e9, args.latency * 1e-6), Link(args.outside * 1e9, args.latency * 1e-6))
    assert readme.read(scaling.PAGE, "scaling").splitlines() == scaling.table(args, cluster)


def test_the_page_s_flags_are_there():
    from minast.training import flags

    known = {option for action in flags.parser()._actions for option in action.option_strings}
    known |= {option for action in scaling.parser()._actions for option in action.option_strings}
    page = re.sub(r"`(mpiexec|scancel|srun)[^`]*`|Slurm's\s+`[^`]*`", "", scaling.PAGE.read_text(encoding="utf-8"))
    assert set(re.findall(r"--[a-z-]+[a-z]", page)) <= known
