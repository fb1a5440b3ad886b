"""Checks of 08_fast_attention. Two answers are CUDA source, run in the emulator and judged by what it counts."""

import math
import re

import numpy as np

from lab import ORDERS, compiled, judged_run, order_of

from .answers.fast_attention import RIGHT, WRONG  # noqa: F401  the tests try them
from .verdict import Wrong, exercise, expect

NEEDS_EMULATOR = True  # the checks of kernels say "not done" where there is no C++ compiler


@exercise
def traffic(function):
    """Counted block by block, at five sizes, with blocks that do and do not divide the queries."""
    for N, D, rows, size in ((64, 64, 64, 4), (1214, 64, 64, 4), (1214, 64, 128, 2), (50, 16, 64, 2), (129, 32, 64, 4)):
        blocks = len(range(0, N, rows))
        total = once = 0
        for first in range(0, N, rows):
            own = min(rows, N - first)
            total += 2 * own * D + 2 * N * D  # q and o of its rows, all keys and values
            once += 4 * own * D
        total, once = total * size, once * size
        slips = {
            "you read k and v once in all: each block reads them": once,
            "you left out the last block: partly empty, it reads all keys as well": 2 * N * D * size * (1 + N // rows),
            "you took a fraction of a block: their number is whole": 2 * N * D * size * (1 + N / rows),
            "you left out q and o": total - 2 * N * D * size,
            "you left out o: it is written": total - N * D * size,
            "you counted one of k and v: both are read": total - blocks * N * D * size,
            "each block reads q and o of its own rows alone, not all of them": blocks * 4 * N * D * size,
            "each query read k and v, as without blocks: the queries of a block share them":
            2 * N * D * size * (1 + N),
            "you counted numbers: each has `size` bytes": total // size,
        }  # fmt: skip
        expect(function(N, D, rows, size), total, given=f"N={N}, D={D}, rows={rows}, size={size}", slips=slips)


@exercise
def owner(function):
    """All 128 elements lie where the hardware puts them."""
    for lane in range(32):
        for register in range(4):
            row, column = lane // 4 + register // 2 * 8, lane % 4 * 2 + register % 2
            slips = {
                "you used registers 0 and 1 alone: 2 and 3 belong to the row 8 below": (lane, register % 2),
                "you gave a lane every fourth column: it holds two neighbours": (
                    row % 8 * 4 + column % 4,
                    row // 8 * 2 + column // 4,
                ),
                "you exchanged lane and register": (register, lane),
                "you gave rows 8 to 15 lanes of their own: they share 0 to 7's": (row * 4 + column // 2, register),
                "you exchanged rows and columns": (column * 4 + row % 8 // 2, row // 8 * 2 + row % 2),
                "you exchanged the parts of the register: the column's parity is the lower bit": (
                    lane,
                    row // 8 + column % 2 * 2,
                ),
            }
            expect(function(row, column), (lane, register), given=f"row={row}, column={column}", slips=slips)


@exercise
def fixed_walk(source):
    """Four lengths in eight thread orders, copies made early, late and by a coin; and each tile is used while the next
    one is under way."""
    path = compiled(source, "walk")
    for tiles in (1, 2, 3, 7):
        x = np.random.default_rng(tiles).normal(size=(tiles, 32, 4)).astype(np.float32)
        want = x.sum(axis=(0, 2))[::-1]
        for modes in (*ORDERS, *({"order": "random", "seed": s} for s in range(3, 7))):
            given, y = f"{tiles} tiles, {order_of(modes)}", np.full(32, np.nan, np.float32)
            judged_run(path, "walk", 1, 32, (x, y, tiles), given=given, **modes)
            slips = {"nothing is mirrored any more": want[::-1]}
            try:
                expect(y, want, given=given, slips=slips, what="y", tol=1e-5)
            except Wrong as wrong:
                raise wrong if wrong.slips else Wrong(f"{wrong} {_advice(y)}") from None
    tiles = 8
    x, y = np.ones((tiles, 32, 4), np.float32), np.empty(32, np.float32)
    _overlaps(judged_run(path, "walk", 1, 32, (x, y, tiles), report=True, given="8 tiles"), tiles)


def _advice(y):
    if np.isnan(y).any():
        return "NaN is memory that no copy has reached: whose copies may still be under way after the wait?"
    return "The numbers come from another tile: who may still be reading a buffer when the next copy into it starts?"


def _overlaps(found, tiles):
    """Two buffers, filled by asynchronous copies, each read while the next copy is under way."""
    copied = found.mix.get("copy", 0)
    if copied < tiles:
        raise Wrong(f"the sums are right, but only {copied} of {tiles} tiles are copied by cp_async16.")
    if found.counts.static_shared > 2 * 128 * 4:
        used = found.counts.static_shared
        raise Wrong(f"the sums are right, but the kernel takes {used} bytes of shared memory: two buffers have 1024.")
    if found.arguments["x"].reads.max() > 1:
        raise Wrong(f"the sums are right, but x is read {found.arguments['x'].reads.max()} times.")
    share = found.total.ahead / found.total.shared_reads
    if share < 0.99 * (tiles - 1) / tiles:
        rest = "no copy is" if not share else f"in {1 - share:.0%} of the reads of a tile no copy is"
        raise Wrong(
            f"the sums are right, but {rest} under way while a tile is added up: copying and adding take turns, as "
            "with one buffer. Issue the next copy before the sum, and wait for it only after."
        )


def _qkv(N, kind):
    rng = np.random.default_rng(N)
    q, k, v = (rng.normal(size=(N, 8)).astype(np.float32) for _ in range(3))
    if kind == "scores that grow from key to key":
        q[:], k[:] = np.abs(q), np.linspace(0, 3, N)[:, None]
    if kind == "scores of several hundred":
        q *= 30
        k *= 30
    return q, k, v


@exercise
def fused_attention(source):
    """Compared for 1 to 2000 tokens, with growing and with huge scores, in four thread orders; and each query reads
    each key and each value once, writes its result once, and keeps no row of scores."""
    path = compiled(source, "fused")
    cases = ((1, "ordinary scores"), (40, "ordinary scores"), (133, "scores that grow from key to key"),
             (70, "scores of several hundred"), (2000, "ordinary scores"))  # fmt: skip
    for N, kind in cases:
        q, k, v = _qkv(N, kind)
        scale = 8**-0.5
        want = _attention(q, k, v, scale)
        sums = _attention(q, k, v, scale, divided=False)
        slips = {
            "the scores are not scaled": lambda a=(q, k, v): _attention(*a, 1.0),
            "the results are not divided by the sum": sums,
            "a new maximum has to scale down what was summed before": lambda a=(q, k, v, scale): _unfaded(*a, 0, 0),
            "you scaled down the results for a new maximum, and forgot the sum": lambda a=(q, k, v, scale): _unfaded(
                *a, 1, 0
            ),
            "you scaled down the sum for a new maximum, and forgot the results": lambda a=(q, k, v, scale): _unfaded(
                *a, 0, 1
            ),
            "p is 1 for every key: it takes no exponential of the score": lambda a=(q, k, v, scale): _unweighted(*a),
            "this is the mean of all values": np.broadcast_to(v.astype(float).mean(axis=0), v.shape),
        }
        for modes in ORDERS if N < 1000 else ORDERS[:1]:
            given, out = f"N={N}, {kind}, {order_of(modes)}", np.full((N, 8), np.nan, np.float32)
            judged_run(path, "fused", -(-N // 32), 32, (q, k, v, out, N, scale), given=given, **modes)
            if np.isnan(out).all():
                why = "nothing was written, or infinity over infinity: subtract the largest score seen so far."
                raise Wrong(f"for {given}, out is NaN everywhere: {why}")
            expect(out, want, given=given, slips=slips, what="out", tol=1e-4)
    q, k, v = _qkv(96, "ordinary scores")
    args = (q, k, v, np.empty_like(q), 96, 8**-0.5)
    _one_walk(judged_run(path, "fused", 3, 32, args, report=True, given="N=96"), 96)
    _no_row_of_scores(source)


_CALL = r"(\w)\s*\([^()]*\)"
_QUALIFIED = r"(?:(?:const|constexpr|static|volatile|unsigned|__device__)\s+)*"
_TYPE = re.compile(_QUALIFIED + r"(?:float|double|int|char|short|long|half|__half|bool)\d?\s+")


def _arrays(source):
    """{name: numbers} of the arrays that a CUDA source declares outside shared memory."""
    code = re.sub(r"//[^\n]*|/\*.*?\*/", " ", source, flags=re.S)
    known = dict(re.findall(r"#\s*define\s+(\w+)\s+(\d+)", code) + re.findall(r"(\w+)\s*=\s*(\d+)\s*[;,}]", code))
    code = re.sub(r"^\s*#.*$", ";", code, flags=re.M)
    code = re.sub(r"=\s*\{(?:[^{}]|\{[^{}]*\})*\}", " ", code)  # initial values; next, arguments of calls
    while re.search(_CALL, code):
        code = re.sub(_CALL, r"\1", code)
    found = {}
    for statement in re.split(r"[;{}]", code):
        head = _TYPE.match(statement.strip())
        for declared in statement.strip()[head.end() :].split(",") if head else ():
            name, _, rest = declared.partition("[")
            if rest and re.fullmatch(r"\w+", name.strip()):
                sizes = re.findall(r"\[([^\]]*)\]", "[" + rest.partition("=")[0])
                found[name.strip()] = math.prod(_size(size, known) for size in sizes)
    return found


def _size(text, known):
    """What a sum of products of numbers and named numbers comes to; infinite if that cannot be told."""
    text = re.sub(r"[A-Za-z_]\w*", lambda name: known.get(name[0], name[0]), text.strip(" ()"))
    if not re.fullmatch(r"\d+(?:\s*[*+]\s*\d+)*", text):
        return math.inf
    return sum(math.prod(int(n) for n in re.findall(r"\d+", term)) for term in text.split("+"))


def _no_row_of_scores(source):
    """A thread's own arrays hold a row of q, k, v or out, not a number for each key."""
    for name, numbers in _arrays(source).items():
        if numbers == math.inf:
            raise Wrong(f"the numbers are right, but how long is `{name}`? Write its size as a number, 32 at most.")
        if numbers > 32:
            raise Wrong(
                f"the numbers are right, but `{name}` holds {numbers} numbers: that is room for a score of each key, "
                "and ends where N is larger. The online softmax forgets a score once it is added to the sums."
            )


def _one_walk(found, N):
    """Each key and each value is read at most once a query, each result written once, by threads with a query each."""
    for name in "kv":
        walks = int(found.arguments[name].reads.max()) / N
        if walks > 1:
            what = {"k": "keys", "v": "values"}[name]
            raise Wrong(
                f"the numbers are right, but there are {walks:.3g} walks over the {what}: each element of {name} is "
                f"read {walks * N:.0f} times by {N} queries. The online softmax needs one walk."
            )
    if found.threads_at_work.sum() < 32:
        working = int(found.threads_at_work.sum())
        raise Wrong(f"the numbers are right, but only {working} of a block's 32 threads work: each has a query.")
    writes = int(found.arguments["out"].writes.max())
    if writes > 1:
        raise Wrong(
            f"the numbers are right, but each element of out is written {writes} times: sums go through memory for "
            "every key. Keep them in an array of the thread's own and write once, at the end."
        )


def _attention(q, k, v, scale, divided=True):
    s = q.astype(float) @ k.T.astype(float) * scale
    p = np.exp(s - s.max(axis=1, keepdims=True))
    return p @ v / (p.sum(axis=1, keepdims=True) if divided else 1)


def _unweighted(q, k, v, scale):
    """With p = 1 instead of exp(s - top), and the right factor for a new maximum."""
    top = np.maximum.accumulate(q.astype(float) @ k.T.astype(float) * scale, axis=1)
    p = np.exp(top - top[:, -1:])
    return p @ v / p.sum(axis=1, keepdims=True)


def _unfaded(q, k, v, scale, fade_results, fade_sum):
    """Without the factor for a new maximum: in both, in the results or in the sum."""
    s = q.astype(float) @ k.T.astype(float) * scale
    top = np.maximum.accumulate(s, axis=1)
    plain, right = np.exp(s - top), np.exp(s - top[:, -1:])
    return (right if fade_results else plain) @ v / (right if fade_sum else plain).sum(axis=1, keepdims=True)
