"""A launch's report as text: a few sentences about the whole, then a table by source line."""

from __future__ import annotations

import typing

import numpy as np

from ..errors import Error

if typing.TYPE_CHECKING:
    from .report import LaunchReport

COLUMNS = (
    ("line", lambda n: str(n.line)),
    ("requests", lambda n: n.requests),
    ("sectors", lambda n: n.sectors),
    ("least", lambda n: n.least_sectors),
    ("shared", lambda n: n.shared_requests),
    ("turns", lambda n: n.turns),
    ("least", lambda n: n.least_turns),
    ("parted", lambda n: n.parted),
    ("FLOP", lambda n: n.flop + n.tensor_flop),
    ("special", lambda n: n.special),
)


def launch(report: LaunchReport) -> str:
    """The whole report of one launch; at most about 120 characters a line, for a kernel of ordinary line length."""
    return "\n".join((*_head(report), *_table(report)))


def _head(report):
    blocks, threads = int(np.prod(report.grid)), int(np.prod(report.block))
    yield f"{report.kernel}: {blocks} block{'s' * (blocks != 1)} of {threads} threads, {_work(report)}"
    for argument in report.arguments.values():
        yield f"  {argument.name}: {_times('read', argument.reads)}, {_times('written', argument.writes)}"
    total = report.total
    share = total.least_sectors / total.sectors if total.sectors else 1
    yield (f"  global memory: {report.bytes_moved} bytes in sectors, {share:.0%} of the sectors necessary; "
           f"each element once: {report.bytes_needed} bytes")  # fmt: skip
    if total.shared_requests:
        yield f"  shared memory: {total.turns} turns, {total.conflicts} of them bank conflicts"
    least, most = report.barriers
    yield f"  barriers: {most if least == most else f'{least} to {most}'} a block"
    yield f"  lanes of a warp at work: {report.lanes_at_work:.1f} on average, parted {total.parted} times"
    yield "  instructions of warps: " + (", ".join(f"{k} {v}" for k, v in report.mix.items()) or "none seen")
    if report.not_counted:
        yield "  NOT counted: what " + ", ".join(sorted(report.not_counted)) + " read and computed"
    if report.reads_by_descriptor:
        yield "  NOT counted: what wgmma.mma_async reads of shared memory"
    yield from _hardware(report)


def _work(report):
    at_work = report.threads_at_work
    if at_work.all():
        return "all at work"
    if not at_work.any():
        return "none of which uses memory or computes"
    names = np.flatnonzero(at_work)
    which = f"thread {names[0]}" if len(names) == 1 else f"{len(names)} threads"
    return f"of which only {which} work{'s' * (len(names) == 1)}"


def _times(verb, counts):
    touched = counts[counts > 0]
    if not touched.size:
        return f"not {verb}"
    which = "each element" if touched.size == counts.size else f"{touched.size} of {counts.size} elements"
    low, high = int(touched.min()), int(touched.max())
    often = f"{low} to {high} times" if low < high else "once" if high == 1 else f"{high} times"
    return f"{which} {verb} {often}"


def _hardware(report):
    try:
        needed, (blocks, warps, limit) = report.needs(), report.occupancy()
    except Error as reason:
        yield "  occupancy unknown: " + "; ".join(str(reason).splitlines()[:2])
    else:
        registers = f"{needed[0]} registers a thread" if needed else "registers unknown (NVRTC is not installed)"
        held = f"{blocks} block{'s' * (blocks != 1)} ({warps} warps)"
        yield f"  on an {report.card.name}: {registers}, {held} a multiprocessor, limited by {limit}"
    first, *others = sorted(report.roofline().items(), key=lambda item: -item[1])
    if first[1]:
        rest = ", ".join(f"{name} {seconds / first[1]:.0%}" for name, seconds in others if seconds)
        yield (f"  at its published peaks {first[0]} takes longest, {first[1] * 1e6:.3g} us at best"
               f"{f'; in shares of that: {rest}' if rest else ''} (counted, not measured)")  # fmt: skip


def _table(report):
    rows = [
        n for n in report.lines if n.requests or n.shared_requests or n.parted or n.flop or n.special or n.tensor_flop
    ]
    if not rows:
        return
    cells = [[str(f(n) or "") for _, f in COLUMNS] for n in rows]
    widths = [max(len(c) for c in column) for column in zip([t for t, _ in COLUMNS], *cells, strict=True)]
    yield ""
    yield "  ".join(t.rjust(w) for (t, _), w in zip(COLUMNS, widths, strict=True))
    file = None
    for row, own in zip(rows, cells, strict=True):
        if row.file != file:
            file = row.file
            yield f"{file}"
        yield "  ".join(c.rjust(w) for c, w in zip(own, widths, strict=True)) + f"  {row.text}"
