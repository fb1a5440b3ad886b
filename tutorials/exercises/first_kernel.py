"""Checks of 07_first_kernel. Four answers are CUDA source, run in the emulator and judged by what it counts."""

import numpy as np

from lab import ORDERS, compiled, judged_run, order_of

from .answers.first_kernel import RIGHT, WRONG  # noqa: F401  the tests try them
from .verdict import Wrong, exercise, expect

NEEDS_EMULATOR = True  # the checks of kernels say "not done" where there is no C++ compiler
MORE_ORDERS = (*ORDERS, *({"order": "random", "seed": s} for s in range(3, 7)))


def _rng():
    return np.random.default_rng(70)


@exercise
def add_bias(source):
    """Right at four sizes in four thread orders; each element is read once, and neighbouring lanes read neighbours."""
    path = compiled(source, "add_bias")
    for rows, columns in ((4, 32), (1, 1), (13, 67), (7, 5)):
        x = _rng().normal(size=(rows, columns)).astype(np.float32)
        b = _rng().normal(size=columns).astype(np.float32) + 10
        want, grid = x + b, (-(-columns // 32), -(-rows // 4))
        for modes in ORDERS:
            given = f"{rows} x {columns}, {order_of(modes)}"
            y = np.full_like(x, np.nan)
            judged_run(path, "add_bias", grid, (32, 4), (x, b, y, rows, columns), given=given, **modes)
            slips = {
                "rows lie on threadIdx.x and columns on threadIdx.y: it is the other way round": _crossed(want, grid),
                "only the first block writes: blockIdx is left out": _first_block(want),
                "y got x alone": x,
                "you indexed b by the row: it has one value a column": _by_row(x, b),
            }
            if np.isnan(y).all():
                raise Wrong(f"for {given}, your kernel writes nothing to y.")
            expect(y, want, given=given, slips=slips, what="y")
    _each_once(_counted(path, 37, 90), "37 x 90")  # a block hangs over on both sides
    found = _counted(path, 40, 96)
    _all_work(found, 128)
    _each_once(found, "40 x 96")
    _neighbours(found)


def _counted(path, rows, columns):
    """What the emulator counts while add_bias runs on an x of rows x columns."""
    x, b, y = np.ones((rows, columns), np.float32), np.ones(columns, np.float32), np.empty((rows, columns), np.float32)
    grid, given = (-(-columns // 32), -(-rows // 4)), f"{rows} x {columns}"
    return judged_run(path, "add_bias", grid, (32, 4), (x, b, y, rows, columns), report=True, given=given)


def _each_once(found, given):
    """Each element of y is written by one thread, each element of x read by one."""
    often = found.arguments["y"].writes.max()
    if often > 1:
        why = "a thread has one of its own. Does your guard test r and c separately?"
        raise Wrong(f"the numbers are right, but for {given} an element of y is written {often} times: {why}")
    often = found.arguments["x"].reads.max()
    if often > 1:
        raise Wrong(f"the numbers are right, but for {given} an element of x is read {often} times.")


def _crossed(want, grid):
    """What is written if x and y are exchanged: NaN where no thread comes."""
    r, c = np.indices(want.shape)
    return np.where((r < 32 * grid[0]) & (c < 4 * grid[1]), want, np.nan)


def _first_block(want):
    r, c = np.indices(want.shape)
    return np.where((r < 4) & (c < 32), want, np.nan)


def _by_row(x, b):
    return x + b[np.minimum(np.arange(len(x)), len(b) - 1)][:, None]


def _all_work(found, threads, why="threads have elements of their own"):
    working = int(found.threads_at_work.sum())
    if working < threads:
        who = "thread 0 alone" if found.threads_at_work[0] and working == 1 else f"only {working} threads of a block"
        raise Wrong(
            f"the numbers are right, but {who} {'does' if working == 1 else 'do'} all the work: {threads} {why}."
        )


def _neighbours(found, slack=1.0):
    """Do the lanes of a warp read and write neighbours? slack: sectors allowed for each that is necessary."""
    total = found.total
    if total.sectors > slack * total.least_sectors:
        worst = max(found.lines, key=lambda n: n.sectors - n.least_sectors)
        raise Wrong(
            f"the numbers are right, but the requests touch {total.sectors} sectors where {total.least_sectors} hold "
            f"all that is asked for: in `{worst.text}` neighbouring lanes use addresses far apart."
        )


@exercise
def fixed_reverse(source):
    """The same result in eight thread orders, at three lengths, through shared memory, with no barrier too many."""
    path = compiled(source, "reverse")
    for n in (64, 200, 13):
        x = _rng().normal(size=n).astype(np.float32)
        padded = np.zeros(-(-n // 64) * 64, np.float32)
        padded[:n] = x
        want = 2 * padded.reshape(-1, 64)[:, ::-1].reshape(-1)[:n]
        for modes in MORE_ORDERS:
            given, y = f"n={n}, {order_of(modes)}", np.full(n, np.nan, np.float32)
            judged_run(path, "reverse", len(padded) // 64, 64, (x, y, n), given=given, **modes)
            slips = {"nothing is doubled any more": want / 2, "nothing is reversed any more": 2 * x}
            try:
                expect(y, want, given=given, slips=slips, what="y")
            except Wrong as wrong:
                if wrong.slips:
                    raise
                race = " If it is right in some orders only, two accesses still race: who reads box[63 - t] while its"
                raise Wrong(f"{wrong}{race} owner writes the doubled value into it?") from None
    x, y = np.ones(200, np.float32), np.empty(200, np.float32)
    found = judged_run(path, "reverse", 4, 64, (x, y, 200), report=True, given="n=200")
    _all_work(found, 64)
    if found.total.shared_reads < 200:  # a store that nobody reads is no way through shared memory
        why = f"{found.total.shared_reads} reads of it for 200 results. The race was in box, and a barrier mends it"
        raise Wrong(f"the numbers are right, but they do not go through shared memory any more: {why}.")
    if found.barriers[1] > 3:
        raise Wrong(
            f"the result is right, but with {found.barriers[1]} barriers: only one was missing. Which do nothing?"
        )


@exercise
def log_sum_exp(source):
    """Right at five sizes in four thread orders, and all lanes of a warp share the work on its row."""
    path = compiled(source, "log_sum_exp")
    cases = (("small values", (5, 64), 1, 0), ("rows shorter than a warp", (6, 13), 1, 0),
             ("rows of 100", (9, 100), 2, 0), ("values near 1000", (3, 40), 5, 1000),
             ("values near -1000", (3, 40), 5, -1000))  # fmt: skip
    for what, shape, spread, middle in cases:
        x = (middle + spread * _rng().normal(size=shape)).astype(np.float32)
        wide = x.astype(np.float64)
        top = wide.max(axis=1)
        rest = np.log(np.exp(wide - top[:, None]).sum(axis=1))
        slips = {"the maximum has to be added back after the logarithm": rest,
                 "this is the maximum alone": top,
                 "this is the sum before the logarithm": np.exp(rest),
                 "only 32 columns of each row were read": _first_columns(wide),
                 "a new maximum has to scale down the lane's sum so far": _by_lanes(wide, fade=False),
                 "the lanes' sums belong to different maxima: bring them to the highest one before you add them":
                 _by_lanes(wide, common=False)}  # fmt: skip
        for modes in ORDERS:
            given, lse = f"{what} ({shape[0]} x {shape[1]}), {order_of(modes)}", np.full(shape[0], np.nan, np.float32)
            judged_run(path, "log_sum_exp", -(-shape[0] // 4), (32, 4), (x, lse, *shape), given=given, **modes)
            if np.isnan(lse).all():
                why = "nothing was written, or -inf minus -inf was computed."
                raise Wrong(f"for {given}, lse is NaN everywhere: {why}")
            if np.isinf(lse).any():
                why = "an exponential overflows, or all of them vanish. Subtract the row's maximum first."
                raise Wrong(f"for {given}, lse is infinite: {why}")
            expect(lse, top + rest, given=given, slips=slips, what="lse", tol=1e-6)
    x, lse = np.ones((8, 128), np.float32), np.empty(8, np.float32)
    _shared_by_lanes(judged_run(path, "log_sum_exp", 2, (32, 4), (x, lse, 8, 128), report=True, given="8 x 128"))


def _shared_by_lanes(found):
    """One warp a row of 128: each lane reads four values of it, once or twice, and one of them writes the result."""
    reads, lanes = found.arguments["x"].reads, found.memory_by_thread[0].reshape(4, 32)
    if (np.delete(lanes, 0, axis=1) == 0).all():
        raise Wrong(
            "the numbers are right, but lane 0 reads the whole row alone, and 31 lanes watch: share the columns."
        )
    if reads.max() >= 32:
        raise Wrong(
            f"the numbers are right, but each lane reads the whole row: an element is read {reads.max()} times."
        )
    if (lanes == 0).any():
        raise Wrong(
            f"the numbers are right, but only {int((lanes > 0).sum(axis=1).min())} lanes of a warp read its row."
        )
    work = found.flop_by_thread
    if work.min() < 2 * 2 * 3:  # in two rows: a difference and a sum for each value, but perhaps the first of four
        raise Wrong(
            f"the numbers are right, but one lane computes {work.max()} additions and products and another "
            f"{work.min()}: all lanes read, and few of them sum up. Each lane can sum up the columns that it reads."
        )
    if reads.max() > 3:
        raise Wrong(f"the numbers are right, but each element is read {reads.max()} times: one walk is enough, or two.")
    if found.arguments["lse"].writes.max() > 1:
        often = found.arguments["lse"].writes.max()
        raise Wrong(f"the numbers are right, but each result is written {often} times: one lane is enough.")
    _neighbours(found, 1.5)


def _first_columns(x):
    return np.log(np.exp(x[:, :32] - x.max(axis=1, keepdims=True)).sum(axis=1)) + x.max(axis=1)


def _by_lanes(x, fade=True, common=True):
    """The online sum of each lane, put together; without the factor for a new maximum, or without a common maximum."""
    top = np.full((len(x), 32), -np.inf)
    total = np.zeros((len(x), 32))
    for first in range(0, x.shape[1], 32):
        part = x[:, first : first + 32]
        n = part.shape[1]
        above = np.maximum(top[:, :n], part)
        with np.errstate(invalid="ignore"):
            factor = np.where(np.isinf(top[:, :n]), 0.0, np.exp(top[:, :n] - above))
        total[:, :n] = total[:, :n] * (factor if fade else 1) + np.exp(part - above)
        top[:, :n] = above
    highest = x.max(axis=1, keepdims=True)
    scale = np.where(total > 0, np.exp(np.where(total > 0, top, highest) - highest), 0) if common else 1
    return (highest + np.log((total * scale).sum(axis=1, keepdims=True)))[:, 0]


@exercise
def turns(function):
    """Right for strides 1, 2, 3, 32, 33, for one broadcast, for both at once, and for random indices."""
    lane = np.arange(32)
    cases = {f"indices {s} * lane": s * lane for s in (1, 2, 3, 32, 33)}
    cases["all lanes want index 5"] = 0 * lane + 5
    cases["indices lane // 2 * 32"] = lane // 2 * 32
    cases |= {f"random indices, draw {i}": np.random.default_rng(i).integers(0, 200, 32) for i in range(3)}
    for given, indices in cases.items():
        banks = {}
        for index in indices.tolist():
            banks.setdefault(index % 32, set()).add(index)
        most = max(map(len, banks.values()))
        slips = {"you counted lanes: those that want the same index are served together":
                 int(np.bincount(indices % 32).max()),
                 "this is the number of banks in use": len(banks),
                 "this is the number of different indices": len(set(indices.tolist())),
                 "1 for all of them says that there is never a conflict": 1,
                 "you divided by 32 to find the bank: it is the remainder":
                 max(len({i for i in indices.tolist() if i // 32 == b}) for b in indices // 32),
                 "a conflict is what comes beyond the first turn; asked for are all turns": most - 1}  # fmt: skip
        expect(function(indices.copy()), most, given=given, slips=slips)


@exercise
def turned(source):
    """Right at four sizes in four thread orders; no sector is touched in vain, and no bank is asked twice at a time."""
    path = compiled(source, "turned")
    for rows, columns in ((32, 32), (40, 70), (1, 33), (65, 3)):
        x = _rng().normal(size=(rows, columns)).astype(np.float32)
        for modes in ORDERS:
            given, y = f"{rows} x {columns}, {order_of(modes)}", np.full((columns, rows), np.nan, np.float32)
            grid = -(-columns // 32), -(-rows // 32)
            judged_run(path, "turned", grid, (32, 8), (x, y, rows, columns), given=given, **modes)
            slips = {"x was copied as it lies": x.reshape(columns, rows)}
            expect(y, np.ascontiguousarray(x.T), given=given, slips=slips, what="y")
    x, y = np.ones((64, 96), np.float32), np.empty((96, 64), np.float32)
    found = judged_run(path, "turned", (3, 2), (32, 8), (x, y, 64, 96), report=True, given="64 x 96")
    _all_work(found, 256)
    if found.arguments["x"].reads.max() > 1:
        raise Wrong(f"the numbers are right, but an element of x is read {found.arguments['x'].reads.max()} times.")
    _neighbours(found)
    total = found.total
    if total.conflicts:
        worst = max(found.lines, key=lambda n: n.conflicts)
        raise Wrong(
            f"the numbers are right, and so are the sectors; but shared memory takes {total.turns} turns where "
            f"{total.least_turns} would do: the lanes of `{worst.text}` want the same banks. Where does a row begin?"
        )
