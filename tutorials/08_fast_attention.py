# %% [markdown]
# # 8. Fast attention
#
# ![You are here](pictures/here_08.svg)
#
# Seven versions of one function, *rungs* 0 to 6, from three naive kernels to tensor cores, each with one idea more.
# (There is a version 7, for Hopper GPUs alone; [kernels/README.md](../kernels/README.md) explains it.)
# After this notebook you can say for each what it changes and why that should help: you count the bytes and the
# operations, draw them against what a GPU can do at best, and run every version in the emulator, which checks it
# against the reference and counts the same things of rungs 1 to 6 (8.9).
#
# **No time in this notebook has been measured, and no figure here is a GPU's speed**: a count says what a kernel cannot
# exceed, not what it reaches.
#
# **Needs:** [notebook 4](04_attention.ipynb) (attention, online softmax) and [notebook 7](07_first_kernel.ipynb)
# (threads, shared memory, barriers, coalescing); Linux (or WSL) and `g++`. No GPU.

# %%
import numpy as np

import lab
import show
from exercises import fast_attention as check
from figures import fast_attention as draw
from minast import cuda, layers
from minast.bench import readme
from minast.gpu import cards, kernel_source
from minast.launch import emulation, launch

lab.need_emulator()  # says in a sentence what is missing, if anything is
show.style()
rng = np.random.default_rng(8)

# %% [markdown]
# ## 8.1 The work to do
#
# One head of attention takes N queries, keys and values of width D:
#
# $$S = \frac{QK^\top}{\sqrt D}, \qquad P = \mathrm{softmax}(S), \qquad O = PV$$
#
# Two matrix products of $N \times N \times D$, each multiplication with an addition: $2 \cdot 2 N^2 D$ floating-point
# operations (FLOP). For a batch of 32 clips of ten seconds in AST base:

# %%
B, H, N, D = 32, 12, 1214, 64
work = 4 * B * H * N * N * D
exponentials = B * H * N * N
print(f"{work / 1e9:.1f} GFLOP and {exponentials / 1e6:.0f} million exponentials a layer")
print(f"q, k, v and o: {4 * B * H * N * D * 4 / 1e9:.2f} GB in float32; the scores: {B * H * N * N * 4 / 1e9:.2f} GB")

# %% [markdown]
# ## 8.2 What a GPU can do at best
#
# A kernel cannot be faster than the slowest of three things: arithmetic, the memory of the GPU, and the memory on the
# chip. For an **A100 (SXM, 80 GB)** NVIDIA publishes what follows. The
# [architecture paper](https://images.nvidia.com/aem-dam/en-zz/Solutions/data-center/nvidia-ampere-architecture-whitepaper.pdf):
# 108 multiprocessors (*SM*: the unit that runs whole blocks, with shared memory and registers of its own) at a boost
# clock of 1410 MHz; an SM does 64 multiply-adds in float32 a clock, and its tensor cores 1024 with 16-bit factors and
# float32 sums. The data sheet: 2.039 TB/s of memory. The
# [CUDA C++ Programming Guide](https://docs.nvidia.com/cuda/cuda-c-programming-guide/): an SM's shared memory serves 32
# banks of 4 bytes a clock, and an SM makes 16 exponentials a clock.
#
# **These are published peak figures, not measurements.** Everything below is arithmetic on them, at that one clock. It
# gives back the two peaks that the data sheet states, 19.5 and 312 TFLOP/s:

# %%
card = cards.A100
FLOAT, TENSOR, MEMORY = card.float32_peak, card.tensor_peak, card.memory
ON_CHIP = card.shared_peak  # bytes/s from all shared memories together
EXP = card.special_peak
print(f"float32 {FLOAT / 1e12:.1f} TFLOP/s, tensor cores {TENSOR / 1e12:.0f} TFLOP/s at {card.clock / 1e9} GHz")
print(f"on chip {ON_CHIP / 1e12:.1f} TB/s, {EXP / 1e12:.2f} T exponentials/s")
print(f"FLOP per byte of memory that keep it busy: float32 {FLOAT / MEMORY:.0f}, tensor cores {TENSOR / MEMORY:.0f}")
assert abs(FLOAT / 19.5e12 - 1) < 2e-3 and abs(TENSOR / 312e12 - 1) < 2e-3

# %% [markdown]
# Why not the newer H100, which the drawing in notebook 7 shows? For two reasons. Rungs 4 to 6 use the instruction
# `mma.sync`, which is what an A100's peak is made of; an H100's 989 TFLOP/s are those of another instruction, `wgmma`,
# and `mma.sync` has much less of it ([FlashAttention-3](https://arxiv.org/abs/2407.08608)). And NVIDIA states two clocks
# for it, 1.83 GHz for the tensor cores and 1.98 GHz for float32 beside them, so that its published peaks are not those of
# one moment. The counts of this notebook hold on any card; where an H100 has another limit, we say so, with all its
# peaks at 1.83 GHz.
#
# *Arithmetic intensity* is FLOP done per byte moved. With intensity $I$ and bandwidth $W$ a kernel reaches at most
# $\min(\text{peak},\; I \cdot W)$: drawn over $I$ on logarithmic axes, a slope and a ceiling, the *roofline*
# ([Williams, Waterman and Patterson 2009](https://doi.org/10.1145/1498765.1498785)). We will put each rung under two
# such roofs, one for the GPU's memory and one for the memory on the chip.

# %%
rungs = {}  # name -> (FLOP per byte of memory, FLOP per byte on chip, arithmetic peak)

# %% [markdown]
# And a small problem to run every rung on, odd on purpose: 70 tokens fill no block, 140 rows no 128.

# %%
qkv = (2 * rng.normal(size=(1, 70, 3 * 2 * 16))).astype(np.float32)  # (B, N, 3 H D): H = 2, D = 16
truth, _ = layers.attention_forward(qkv.astype(np.float64), heads=2)


def run(version, x=qkv, want=truth):
    """The largest error of one rung in the emulator, relative to the largest value."""
    o, _ = cuda.attention_forward(x, 2, version=version)
    error = np.abs(widened(o) - want).max() / np.abs(want).max()
    kind = "bfloat16" if x.dtype == np.uint16 else x.dtype
    print(f"rung {version}, {kind}: largest error {error:.1e}")
    return error


def widened(x):
    """An array of a kernel as float64; bfloat16 travels as the upper half of a float32's bits."""
    if x.dtype == np.uint16:
        x = (x.astype(np.uint32) << 16).view(np.float32)
    return x.astype(float)


# %% [markdown]
# ## 8.3 Rung 0: three kernels
#
# The formula as it stands: one kernel for S, one for the softmax, one for PV. A thread per score, a thread per row, a
# thread per result.

# %%
show.kernel("attention.cu", "attention_scores", "attention_values")

# %%
assert run(0) < 1e-5

# %% [markdown]
# **Bytes of memory.** S is written, read by the softmax, written as P and read again: four times $4N^2$ bytes a head,
# at least. **Bytes on the chip.** Here we ask what a warp's requests bring, as in notebook 7. In `attention_scores`
# the 32 lanes of a warp have neighbouring j: they read k rows that lie $3HD$ floats apart. Each lane wants 4 bytes
# and gets a sector of 32.

# %%
lane = np.arange(32)
k_bytes = 4 * (lane * 3 * H * D + H * D)  # addresses of k[j][0] for the 32 j of a warp
v_bytes = 4 * (2 * H * D + lane)  # attention_values: lanes have neighbouring d
per_lane = {}
for name, address in (("k in attention_scores", k_bytes), ("v in attention_values", v_bytes)):
    per_lane[name] = len(np.unique(address // 32)) * 32 / 32
    print(f"{name}: {len(np.unique(address // 32))} sectors a warp, {per_lane[name]:.0f} bytes for each lane's 4")
chip = (4 + per_lane["k in attention_scores"]) + (4 + per_lane["v in attention_values"])  # q, k; then p, v
memory = 4 * 4 * N * N + 4 * 4 * N * D  # one head: S four times, and q, k, v, o
rungs["0"] = (4 * N * N * D / memory, 4 / chip, FLOAT)
print(f"{rungs['0'][0]:.1f} FLOP per byte of memory, {rungs['0'][1]:.3f} per byte on chip")

# %%
draw.rooflines(rungs, card)

# %% [markdown]
# The right roof is the low one: the cores would wait for the caches nearly all the time. (Two simplifications go
# through this notebook. Caches are taken to hold whatever is used again within a launch. And a value that many lanes
# read at once counts for each of them: a request takes its turn, whether its lanes share a value or not, though for
# loads of 16 bytes the hardware may do better than that.)
#
# ## 8.4 Rung 1: one kernel, and no N x N array
#
# With the online softmax of notebook 4 a thread can walk over the keys once and forget each score at once: it keeps a
# maximum, a sum, and D running results, all in *registers*, the memory of a single thread and the fastest there is. When
# a key raises the maximum from $m$ to $m'$, what was summed so far is multiplied by $e^{m - m'}$. It also writes one
# number a row, `lse`, for the backward pass (section 8.10).
#
# Words in these sources: `__launch_bounds__(64)` says how many threads a block will have; `constexpr` is a number known
# when the kernel is compiled; `load_tile` has all threads of the block copy rows into shared memory, zeros where there
# are none; `PITCH<D>` is D and some padding against bank conflicts; `float4` is four floats read at once, and
# `reinterpret_cast` reads memory as if it held them; `__syncwarp` is a barrier for one warp.

# %%
show.kernel("attention.cu", "attention_rows")

# %%
assert run(1) < 1e-5

# %% [markdown]
# The 64 threads of a block walk over the same keys, so 32 keys at a time are put into shared memory, between two
# barriers; you know both from notebook 7: the first is "everybody is done with the last keys".
#
# Count: memory sees q, k, v, o once. On the chip, per thread and key, D words (a word is 4 bytes, one float32) of k and D
# of v are loaded for 2 D multiply-adds: **one load feeds one multiplication**. Filling the tile costs little, since 64 threads share it.

# %%
fused = 4 * N * D * 4 + 4 * N  # q, k, v, o and lse of one head, float32
loads, stores = 64 * 32 * 2 * D, 2 * 32 * D  # words, for 64 queries and 32 keys
rungs["1"] = (4 * N * N * D / fused, 4 * 64 * 32 * D / (4 * (loads + stores)), FLOAT)
draw.rooflines(rungs, card)
print(f"{rungs['1'][0]:.0f} FLOP per byte of memory ({rungs['1'][0] / rungs['0'][0]:.0f} times rung 0's)")
print(f"{rungs['1'][1]:.2f} FLOP per byte on chip: at best {rungs['1'][1] * ON_CHIP / 1e12:.1f} TFLOP/s")

# %% [markdown]
# The memory is no concern any more, neither now nor later. What is left is the right picture.
#
# ### Exercise 8.1 ★ Predict, then count
#
# "Once" is what the memory sees if a cache holds keys and values for all blocks. Without a cache each block reads all of
# k and v again. Write `traffic(N, D, rows, size)`: bytes that one head then moves, when each block owns `rows` queries:
# q and o once, k and v once per block, numbers of `size` bytes; lse is left out. The last block may be partly empty.
# Then predict what the emulator will count for rung 1 at N = 70, D = 16, two heads, 64 queries a block: the cell after
# the check says it.
#
# <details><summary>Hint</summary>
#
# How many blocks own 70 queries? Each of them reads 70 keys and 70 values, however few queries it has.
#
# </details>
#
# [Solution](solutions/fast_attention.py)


# %%
def traffic(N, D, rows, size):
    return ...  # your code: replace this line


# %%
check.traffic(traffic)

# %%
with emulation(report=True) as report:
    cuda.attention_forward(qkv, 2, version=1)
found = report[0]
moved = found.arguments["qkv"].reads.sum() + found.arguments["out"].writes.sum()
print(f"counted for two heads: {4 * moved} bytes; in whole sectors, and with lse: {found.bytes_moved} bytes")
print(f"each element of k and v is read by {found.arguments['qkv'].reads.max()} blocks")
assert found.arguments["qkv"].reads.max() == 2 and 4 * moved == 2 * (2 + 2 * 2) * 70 * 16 * 4

# %% [markdown]
# (In sectors it is more: the lanes of a warp load and store their queries' rows side by side, one float of each at a
# time, and each float costs a sector of its own.)
#
# ## 8.5 Rungs 2 and 3: a tile of scores in each thread
#
# One load feeds one multiplication, because each thread computes one row. Let a thread compute a **tile** of TM x TN
# scores instead. For each d it loads TM numbers of q and TN of k, and does TM TN multiplications: with 4 x 4, 8 loads
# feed 16, with 8 x 8, 16 loads feed 64.

# %%
show.kernel("attention_tiles.cuh", "dots")

# %% [markdown]
# Which scores are whose? The index formulas say `row ty + GM r, column tx + GN c`. Drawn for rung 2, with 64 queries
# and 32 keys, 128 threads in a grid of GM x GN = 16 x 8:

# %%
BM, BN, TM, TN = cuda.TILES[2]
GM, GN = BM // TM, BN // TN
query, key = np.mgrid[:BM, :BN]
owner = query % GM * GN + key % GN  # threadIdx.x = ty * GN + tx
assert (np.bincount(owner.ravel()) == TM * TN).all() and owner.max() + 1 == 128
draw.scores_of_threads(owner, 37)

# %% [markdown]
# A thread's scores lie GM rows and GN columns apart, not side by side. So the 8 lanes of one ty read 8 *neighbouring*
# rows of the keys, whose padded starts fall into different banks. And a row of scores belongs to 8 lanes of one warp:
# maximum and sum of a row are three shuffles (`warp_max<GN>`), without a barrier.

# %%
show.kernel("attention.cu", "attention_tiles")

# %%
assert run(2) < 1e-5 and run(3) < 1e-5

# %%
for version in (2, 3):
    BM, BN, TM, TN = cuda.TILES[version]
    threads, columns = BM // TM * (BN // TN), D // (BN // TN)
    loads = threads * ((TM + TN) * D + BN * (TM + columns))  # q and k for the scores; p and v for the results
    stores = BM * BN + 2 * BN * D  # probabilities; keys and values
    rungs[str(version)] = (rungs["1"][0], 4 * BM * BN * D / (4 * (loads + stores)), FLOAT)
    intensity = rungs[str(version)][1]
    shares = [intensity * c.shared_peak / c.float32_peak for c in (cards.A100, cards.H100)]
    print(f"rung {version}: {intensity:.2f} FLOP per byte on chip. Shared memory alone allows {shares[0]:.0%}", end=" ")
    print(f"of an A100's float32 peak, {shares[1]:.0%} of an H100's")
draw.rooflines(rungs, card)

# %% [markdown]
# On an A100 rung 2 comes to the ceiling of the arithmetic, and rung 3 has room to spare. An H100 has twice as many
# float32 lanes beside the same shared memory, so that it needs rung 3.
#
# **What it costs.** 8 x 8 scores, 8 x 8 results, and the numbers in use are more than 128 numbers a thread. An A100's SM
# has 65536 registers and up to 164 KB of shared memory; both limit how many blocks it can hold at a time, and while one
# block waits, others should work. minast compiles its kernels for real GPUs (no GPU is needed for that) and keeps the
# table in `kernels/README.md`. We read it from there:

# %%
table = readme.read(readme.of_kernels(), "registers")
cells = [[c.strip(" `") for c in line.split("|")[1:-1]] for line in table.splitlines() if line.startswith("| `")]
needs = {row[0]: row for row in cells if len(row) == 8}
launches = {  # threads and dynamic shared bytes of a block at D = 64
    "attention_rows": (64, 0),
    "attention_tiles": (128, cuda.tile_bytes(3, D)),
    "attention_mma": (128, 256 * (D + 8)),
    "attention_mma_async": (128, 2 * 256 * (D + 8)),
}
rows = []
for name, (threads, dynamic) in launches.items():
    registers, shared, spilled = int(needs[name][4]), int(needs[name][6]) + dynamic, int(needs[name][7])
    blocks, limit = cards.blocks_per_sm(card, threads, registers, shared)
    rows.append((name, registers, shared, blocks, blocks * threads // 32, limit, spilled))
    assert spilled == 0 and blocks >= 1
header = ("kernel", "registers", "shared bytes", "blocks an SM", "warps an SM", "limited by", "spilled bytes")
show.table(rows, header)

# %% [markdown]
# (Compute capability 8.0, the A100's; the most that any instantiation needs, with rung 3's tiles; each block takes 1 KB
# more for the system.) A *spill* would be a number that found no register and went to memory: none does. Few warps an SM
# are the price of large tiles: a thread must then have enough independent work of its own, and 64 multiplications in a
# row that do not wait for each other are that.
#
# ## 8.6 Rung 4: tensor cores
#
# A tensor core multiplies small matrices, in one instruction of a whole warp: `mma.m16n8k16` does $D_{16 \times 8}
# \mathrel{+}= A_{16 \times 16} B_{16 \times 8}$ with 16-bit A and B and a float32 D. The matrices lie in the
# **registers of the 32 lanes**, in a layout that the hardware dictates: their *fragments*. D, the *accumulator*, is a
# matrix here; elsewhere the letter is the width of a head. Let us ask who holds what.
# The kernel loads two matrices whose numbers say where they stand, and writes down each lane's registers. `ldmatrix`
# loads four (`_x4`) or two (`_x2`) matrices of 8 x 8 16-bit numbers from shared memory for the whole warp: each lane
# names the address of one row of 8 numbers, and gets the pairs of neighbours that its fragment needs.

# %%
fragments = lab.file("""
#include "common.cuh"
#include "ptx.cuh"
__global__ void fragments(const __half* a, const __half* b, unsigned* in_a, unsigned* in_b, float* d) {
  __shared__ __align__(16) __half left[16 * 24];  // rows of 16 numbers, padded to 24: 16-byte steps, no conflicts
  __shared__ __align__(16) __half right[8 * 24];  // b by columns: row n holds b[0..15][n]
  int t = threadIdx.x;
  for (int i = t; i < 256; i += 32) left[i / 16 * 24 + i % 16] = a[i];
  for (int i = t; i < 128; i += 32) right[i / 16 * 24 + i % 16] = b[i];
  __syncthreads();
  unsigned x[4], y[2];
  float sum[4] = {0.0f, 0.0f, 0.0f, 0.0f};
  ldmatrix_x4(x, left + t % 16 * 24 + t / 16 * 8);
  ldmatrix_x2(y, right + t % 8 * 24 + t / 8 % 2 * 8);
  mma_m16n8k16<__half>(sum, x, y[0], y[1]);
  for (int i = 0; i < 4; i++) in_a[t * 4 + i] = x[i], d[t * 4 + i] = sum[i];
  for (int i = 0; i < 2; i++) in_b[t * 2 + i] = y[i];
}
""")


def multiply(a, b):
    """a (16, 16), b (16, 8) through one mma. -> what the lanes hold of a (32, 4, 2), of b (32, 2, 2), of d (32, 4)"""
    in_a, in_b, d = np.empty((32, 4), np.uint32), np.empty((32, 2), np.uint32), np.empty((32, 4), np.float32)
    args = (a.astype(np.float16), np.ascontiguousarray(b.T, np.float16), in_a, in_b, d)
    launch(fragments, "fragments", 1, 32, args)
    return in_a.view(np.float16).reshape(32, 4, 2), in_b.view(np.float16).reshape(32, 2, 2), d


# %%
held_a, held_b, _ = multiply(np.arange(256).reshape(16, 16), np.arange(128).reshape(16, 8))
a, b = np.zeros((16, 16)), np.zeros((16, 8))
a[:, 0], a[:, 1], b[0], b[1] = 8 * np.arange(16), 1, 1, np.arange(8)  # product: d[row, column] = 8 row + column
*_, held_d = multiply(a, b)


def owners(held, shape):
    """Lane and register of each element, from what each lane holds: element numbers. -> two arrays of `shape`"""
    lanes, registers = np.full(shape, -1), np.full(shape, -1)
    for place, number in np.ndenumerate(held):
        lanes.flat[int(number)], registers.flat[int(number)] = place[0], place[1]
    assert lanes.min() == 0 and lanes.max() == 31
    return lanes, registers


lane_a, register_a = owners(held_a, (16, 16))
lane_b, register_b = owners(held_b, (16, 8))
lane_d, register_d = owners(held_d, (16, 8))

# %%
held = {"A (16 x 16)": (lane_a, register_a), "B (16 x 8)": (lane_b, register_b), "D (16 x 8)": (lane_d, register_d)}
draw.fragments(held)

# %% [markdown]
# Row g of A and D belongs to the four lanes 4 g to 4 g + 3, and so does row g + 8. Two neighbours of A share a 32-bit
# register, two neighbours of D have one each (registers 0 and 1 in row g, 2 and 3 in row g + 8). Now look at A and D together: **the lanes that hold a row of D are those that must hold that row of A**.
# Two D's side by side (16 x 16) have exactly the layout of one A. So the probabilities, a result of the first
# product, become the left operand of the second without leaving their registers:

# %%
side_by_side = np.hstack([lane_d, lane_d])
assert (side_by_side == lane_a).all()
assert (register_a == np.hstack([register_d // 2, register_d // 2 + 2])).all()  # two numbers a register
print("two accumulators side by side lie as one left operand: yes, in all 256 places")
show.kernel("attention_mma.cuh", "to_left")

# %% [markdown]
# ### Exercise 8.2 ★★ Read the layout
#
# Write `owner(row, column)` for the accumulator D: the lane that holds the element, and which of its four registers. A
# formula, not a table: guess it from a few elements of the picture, and see whether it predicts the others.
#
# <details><summary>Hint</summary>
#
# Look at row 0: which lanes hold its eight columns, and which register each? Then compare row 1, and row 8, with it.
#
# </details>
#
# [Solution](solutions/fast_attention.py)


# %%
def owner(row, column):
    return ...  # your code: replace this line


# %%
check.owner(owner)

# %% [markdown]
# Here is a tile of 64 keys on tensor cores: the scores, the mask for keys that do not exist, the online softmax for
# the two rows of a lane (four lanes share a row: `warp_max<4>`), and the second product.

# %%
show.kernel("attention.cu", "step")

# %% [markdown]
# q, k, v are 16-bit now, `float16` or `bfloat16`; sums, maxima and exponentials stay float32. float16 has 11
# significant bits, bfloat16 8 of them but the range of float32. The reference gets the same rounded inputs, so that
# what we see is the kernel's own rounding: mostly that of the result, which is stored in 16 bits; that of the probabilities is a third of it:

# %%
half = qkv.astype(np.float16)
brain = ((qkv.view(np.uint32) + 0x8000) >> 16).astype(np.uint16)  # rounded to 8 significant bits
for x, bits in ((half, 11), (brain, 8)):
    want, _ = layers.attention_forward(widened(x), heads=2)
    assert run(4, x, want) < 2 * 2.0**-bits

# %% [markdown]
# **Count.** A warp owns 16 M query rows (M fragments). For 64 keys it reads 64 D numbers of k and 64 D of v from
# shared memory, each of 2 bytes, and does $4 \cdot 16 M \cdot 64 D$ FLOP: 16 M FLOP per byte read. The larger M, the
# more products share a load. The tile is also written, once for the block's four warps: four fifths of 16 M are left.

# %%
for M in (1, 2):
    loads, stores = 4 * 2 * 64 * D * 2, 2 * 64 * D * 2  # bytes: four warps read, the block writes once
    name = f"4, 5, 6 (M = {M})"
    rungs[name] = (2 * rungs["1"][0], 4 * 64 * M * 64 * D / (loads + stores), TENSOR)
    shares = [rungs[name][1] * c.shared_peak / c.tensor_peak for c in (cards.A100, cards.H100)]
    print(f"M = {M}: {rungs[name][1]:.1f} FLOP per byte on chip. Shared memory alone allows {shares[0]:.0%}", end=" ")
    print(f"of an A100's tensor peak, {shares[1]:.0%} of an H100's (which mma.sync does not reach anyway)")
draw.rooflines(rungs, card)
assert 0.79 < rungs["4, 5, 6 (M = 1)"][1] * ON_CHIP / TENSOR < 0.81 and rungs["4, 5, 6 (M = 2)"][1] * ON_CHIP > TENSOR

# %% [markdown]
# With M = 1 shared memory would hold an A100's tensor cores at four fifths of their peak, with M = 2 it lets them go.
# That is why `attention_mma` has the template parameter M. (`2 * rungs["1"][0]`: 16-bit arrays are half as many
# bytes.)
#
# ## 8.7 Rung 5: copy while computing
#
# In rung 4 a block loads a tile, waits, computes, waits, loads the next. Two units, memory and tensor cores, take
# turns at being idle. Rung 5 has **two buffers**, and the instruction `cp.async`: it starts a copy from global to
# shared memory and lets the thread go on at once. While one tile is used, the next arrives. This is all that changes
# in the code:

# %%
print(lab.diff("attention.cu", "attention_mma", "attention_mma_async"))

# %%
draw.copying_ahead()

# %% [markdown]
# The new danger: a copy under way is seen by nobody's program order. `cp_async_wait<N>` waits until at most N groups
# of **this thread's** copies are under way; the barrier after it makes that true for all threads. The emulator makes
# a copy as late as it may (order forward), at once (reverse), or by a coin (random). Let us plant three mistakes in
# the real source:

# %%
source = kernel_source.load("attention.cu").text.replace("// instantiate:", "//")  # compile only what we launch
wait = "    cp_async_wait<0>();\n    __syncthreads();  // this tile has arrived"
fetch = "fetch(buffers + (now ^ 1) * BUFFER"
planted = {
    "as it is": source,
    "waits for all but the youngest copy": source.replace(wait, wait.replace("<0>", "<1>")),
    "no barrier after the wait": source.replace(wait, "    cp_async_wait<0>();  // this tile has arrived"),
    "copies into the buffer in use": source.replace(fetch, "fetch(buffers + now * BUFFER"),
}
want, _ = layers.attention_forward(half.astype(float), heads=2)
table = {}
for name, text in planted.items():
    path, table[name] = lab.file(text, "attention.cu"), []
    for modes in lab.ORDERS[:3]:
        o, lse = np.empty((1, 70, 32), np.float16), np.empty((1, 2, 70), np.float32)
        with emulation(**modes):
            args = (half, None, o, lse, 70, 2, 16**-0.5)  # None: no bias
            launch(path, "attention_mma_async<__half,16,1>", (2, 2, 1), 128, args, 2 * 256 * 24)
        error = np.abs(o.astype(float) - want).max() / np.abs(want).max()
        table[name].append("right" if error < 1e-3 else "NaN" if np.isnan(error) else f"error {error:.1g}")
for name, found in table.items():
    print(f"{name:38}", *(f"{m['order']}: {f:8}" for m, f in zip(lab.ORDERS, found, strict=False)))
assert [set(v) == {"right"} for v in table.values()] == [True, False, False, False]

# %% [markdown]
# **Exponentials.** The hardware has a unit for powers of two, so that $e^x$ is made as $2^{x \log_2 e}$. Rung 4 leaves
# that to `__expf`, which multiplies each x by the factor. Rung 5, like 2 and 3, lets the factor join the scale $1/\sqrt
# D$, where it costs nothing. Why care? Count the time at peak rates:

# %%
products, powers = work / TENSOR, exponentials / EXP
print(f"products {products * 1e3:.3f} ms, exponentials {powers * 1e3:.3f} ms at peak rates (counted, not measured)")
print(f"one after the other: {work / (products + powers) / 1e12:.0f} TFLOP/s at best; overlapped: {TENSOR / 1e12:.0f}")

# %% [markdown]
# At D = 64 the exponentials take half as long as the matrix products. Only where one warp's exponentials run while
# another warp multiplies does it come near the tensor cores' ceiling.
#
# ### Exercise 8.3 ★★★ Two mistakes in a pipeline
#
# `walk` adds up tiles of 128 numbers, each thread its four, *mirrored*: thread t takes those that
# thread 31 - t copied. It has two buffers and two mistakes: one shows at the last tile, one whenever some threads are
# faster than others. Assign the repaired source to `fixed_walk`. The copies stay asynchronous: the next tile is under
# way while this one is added up, and the check counts that. (`cp_async16` copies 16 bytes, `cp_async_commit` closes a
# group of copies.)
#
# <details><summary>Hint</summary>
#
# At the last tile no younger copy exists that could be left under way. And a copy may start only when nobody reads its
# buffer any more: which barrier says that? One order of wait, barrier, next copy and sum mends both.
#
# </details>
#
# [Solution](solutions/fast_attention.py)

# %%
walk = """
#include "ptx.cuh"
__global__ void walk(const float* x, float* y, int tiles) {
  __shared__ __align__(16) float buffer[2][128];
  int t = threadIdx.x;
  float sum = 0.0f;
  cp_async16(&buffer[0][4 * t], x + 4 * t);
  cp_async_commit();
  for (int k = 0; k < tiles; k++) {
    if (k + 1 < tiles) {
      cp_async16(&buffer[(k + 1) % 2][4 * t], x + 128 * (k + 1) + 4 * t);
      cp_async_commit();
    }
    cp_async_wait<1>();
    __syncthreads();
    for (int i = 0; i < 4; i++) sum += buffer[k % 2][4 * (31 - t) + i];
  }
  y[t] = sum;
}
"""
fixed_walk = ...  # your code: replace this line; the repaired source

# %%
check.fixed_walk(fixed_walk)

# %% [markdown]
# ## 8.8 Rung 6: fewer instructions around the products
#
# The count so far leaves something out. A multiprocessor has four schedulers, and each issues **one instruction a
# cycle**, of whatever kind: a product for the tensor cores, an addition, the making of an address. A product keeps the
# tensor cores busy for several cycles, so a few other instructions beside it are free; many are not. How many there
# are, only the compiled code tells. `python -m minast.bench sass` takes it apart and counts (for compute capability 9.0,
# the H100's; HMMA is `mma.sync`, LDSM is `ldmatrix`):

# %%
first, *_ = readme.read(readme.of_kernels(), "sass").partition("\n\n")  # the second table is about other kernels
header, _, *rows = ([c.strip(" `") for c in line.split("|")[1:-1]] for line in first.strip().splitlines())
show.table(rows, header)
others = header.index("others for each")
for row in rows[:3]:
    print(f"{row[0]}: {row[others]} others for each product")
assert 6 < float(rows[1][others]) < 9 and float(rows[2][others]) < 6  # as the text below says

# %% [markdown]
# In rung 5 some seven others stand beside each product. Where do they come from? Softmax takes its share: a maximum, a
# multiplication, an exponential and an addition for each score. Most of the rest makes addresses: `load_tile16_async` finds row and column of each piece anew, multiplies, adds in 64
# bits, and compares with the end of the array, for every tile. Rung 6 keeps one address a thread and adds to it
# (`Walk`); only the last tile is compared with anything.
#
# The second saving is arithmetic that mostly changes nothing. When a new maximum appears, all that was summed is scaled
# down. But o and the sum are relative to *the same* number, and any number not too small will do: their quotient is the
# same. So rung 6 lets the old one stand until a score exceeds it by so much that its exponential is above $2^8$, which is by
# $8 \ln 2 \approx 5.5$, and then scales once. float16 ends at $2^{16}$, far from there.

# %%
show.kernel("attention.cu", "step", start="if (!LAZY", stop="const float shift")

# %%
want, _ = layers.attention_forward(half.astype(float), heads=2)
assert run(6, half, want) < 2 * 2.0**-11

# %% [markdown]
# Whether this is faster, and by how much, a count cannot say. The table in kernels/README.md will.
#
# ## 8.9 All rungs side by side

# %%
rows = []
for name, (per_byte, per_chip_byte, peak) in rungs.items():
    limits = {"memory": per_byte * MEMORY, "on chip": per_chip_byte * ON_CHIP, "arithmetic": peak}
    lowest = min(limits, key=limits.get)
    rows.append((name, *(f"{v / 1e12:.0f}" for v in limits.values()), lowest, f"{work / limits[lowest] * 1e3:.2f}"))
header = ("rung", "memory (TFLOP/s)", "on chip (TFLOP/s)", "arithmetic (TFLOP/s)", "lowest", "ms at that ceiling")
show.table(rows, header)

# %% [markdown]
# Ceilings of an A100, counted from the code and from published peaks: what a rung **cannot** exceed under the two
# simplifications above. They rank the ideas; they are not timings. Real kernels stay below, for reasons that the count
# leaves out: waiting, barriers, address arithmetic, the exponentials.
#
# Are the counts right? They are formulas of ours. The emulator counts on its own, request by request: what shared memory
# hands out are its turns, of 128 bytes each. For 256 tokens and one head of width 64:

# %%
tokens, rows = 256, []
small = rng.normal(size=(1, tokens, 3 * D)).astype(np.float32)


def count(rung, formula, kernel, block, queries, shared_bytes):
    """Run one kernel with a report; its FLOP per byte on chip beside the formula's."""
    x = small if "mma" not in kernel else small.astype(np.float16)
    o, lse = np.empty((1, tokens, D), x.dtype), np.empty((1, 1, tokens), np.float32)
    bias = () if x is small else (None,)
    grid, args = (tokens // queries, 1, 1), (x, *bias, o, lse, tokens, 1, D**-0.5)
    with emulation(report=True) as report:
        launch("attention.cu", kernel, grid, block, args, shared_bytes)
    found = report[0]
    per_byte = 4 * tokens * tokens * D / (128 * found.total.turns)
    keys = found.arguments["qkv"].reads[..., D:].max()
    rows.append((rung, f"{per_byte:.2f}", f"{rungs[formula][1]:.2f}", found.total.conflicts, keys, found.barriers[1]))
    assert abs(per_byte / rungs[formula][1] - 1) < 0.1 and found.total.conflicts == 0


count("1", "1", f"attention_rows<{D}>", 64, 64, 0)
for version in (2, 3):
    tile = ",".join(map(str, cuda.TILES[version]))
    count(
        str(version),
        str(version),
        f"attention_tiles<{D},{tile}>",
        128,
        cuda.TILES[version][0],
        cuda.tile_bytes(version, D),
    )
for M in (1, 2):
    for version, suffix, buffers in ((4, "", 1), (5, "_async", 2), (6, "_lean", 2)):
        shared_bytes = buffers * 2 * 64 * 2 * (D + 8)  # of keys and values, rows of D + 8 numbers of 2 bytes
        kernel = f"attention_mma{suffix}<__half,{D},{M}>"
        count(f"{version} (M = {M})", f"4, 5, 6 (M = {M})", kernel, 128, 64 * M, shared_bytes)
header = ("rung", "FLOP a byte on chip, counted", "formula", "bank conflicts", "reads of a key", "barriers a block")
show.table(rows, header)

# %% [markdown]
# Formula and count agree within 10 %, and what is missing has a name, the queries. In rungs 4 to 6 a block puts them into
# shared memory and reads them once, in rungs 2 and 3 the formula leaves out the putting (the more tokens, the less that is). No rung has a bank
# conflict. With M = 2 a block owns twice as many queries, so
# that each key is read by half as many blocks. Rung 5 gets along with one barrier a tile where rung 4 needs two.
#
# What has been measured? `python -m minast.bench --backend cuda --readme kernels/README.md --ladder kernels/ladder.png`
# checks each rung against the reference, times it on the GPU at hand, writes a table, and draws the ladder. This is
# what the table holds at present:

# %%
measured = readme.read(readme.of_kernels(), readme.GPU)
print(measured)
if "|" not in measured:
    print("\nSo this notebook shows no measured figure: none exists yet.")

# %%
ladder = kernel_source.folder() / "ladder.png"
if ladder.is_file():
    show.picture(ladder, "TFLOP/s of each rung, of the fastest SDPA and of cuBLAS")
else:
    print("Nobody has measured the ladder on a GPU yet: the command above draws it there.")

# %% [markdown]
# ## 8.10 Backwards: compute it again
#
# The backward pass needs P again (notebook 4): $dV = P^\top dO$, $dS = P \odot (dP - \Delta)$ with $dP = dO\, V^\top$
# and $\Delta$ the row sums of $dO \odot O$; $\odot$ multiplies entry by entry, as NumPy's `*` does. Keeping P would need $N^2$ numbers a head. Kept instead is one number a
# row, the log-sum-exp, $\mathrm{lse}_i = \log \sum_j e^{S_{ij}}$, and $P_{ij} = e^{S_{ij} - \mathrm{lse}_i}$ is one
# product and one exponential away.

# %%
tokens = np.array([110, 257, 512, 1214, 2048])
draw.kept(tokens, layers=12, heads=12)
print(f"at N = 1214: {12 * 12 * 1214**2 * 4 / 1e6:.0f} MB against {12 * 12 * 1214 * 4 / 1e6:.1f} MB")

# %% [markdown]
# The price is arithmetic. The gradient itself takes four products of $2N^2D$ FLOP (dP, dV, dQ, dK); S again makes
# five. minast uses two kernels: dK and dV are sums over queries, so a block owns keys and walks over queries; dQ is a
# sum over keys, so there a block owns queries. Both make S and dP: seven products. In one kernel it would be five,
# but then blocks would add to the same dQ, with atomics, and the bits would depend on who comes first.

# %%
show.kernel("attention_backward.cu", "attention_tiles_dq", start="for (int first = 0")

# %%
do = rng.normal(size=truth.shape).astype(np.float32)
want = layers.attention_backward(do.astype(float), layers.attention_forward(qkv.astype(float), 2)[1])
got = cuda.attention_backward(do, cuda.attention_forward(qkv, 2, version=2)[1])
error = np.abs(got - want).max() / np.abs(want).max()
again = cuda.attention_backward(do, cuda.attention_forward(qkv, 2, version=2)[1])
print(f"dqkv: largest error {error:.1e}; a second run gives the same bits: {(got == again).all()}")
print(
    f"FLOP of the backward pass at B = {B}: {7 * work / 2 / 1e9:.0f} G; with five products {5 * work / 2 / 1e9:.0f} G"
)
assert error < 1e-5 and (got == again).all()

# %% [markdown]
# ### Exercise 8.4 ★★★ Design rung 1
#
# Write rung 1 yourself, for one head of width 8: `fused`, one thread a query, reads q, k, v (N, 8), writes out (N, 8),
# and keeps no more than one score at a time. No shared memory is needed; `float o[8]` is an array of the thread's own.
# Each score is the product of q and k times `scale`. The check launches enough blocks of 32 threads along x, and feeds
# them scores that grow from key to key, and scores of several hundred. Then it counts: each query may read each key and
# each value once, and writes its result once, and no array of a thread's own may be longer than 32.
#
# <details><summary>Hint</summary>
#
# The state of a thread is a maximum, a sum and eight results so far. When a key brings a new maximum, which of the three
# has to be scaled down, and by what? Begin with $-\infty$ and zeros: $e^{-\infty}$ is 0, so the first key needs no
# special case.
#
# </details>
#
# [Solution](solutions/fast_attention.py)

# %%
fused_attention = """
__global__ void fused(const float* q, const float* k, const float* v, float* out, int N, float scale) {
  // your code: replace this line
}
"""

# %%
check.fused_attention(fused_attention)

# %% [markdown]
# ## What to remember
#
# - Count first: FLOP per byte of memory and per byte on the chip, and compare with the peaks. The lower roof says
#   what to change next.
# - Fusing saves memory traffic; the online softmax is what makes it possible.
# - On the chip the currency is *uses per load*: tiles of scores in registers, then whole fragments on tensor cores.
# - A layout can be a gift: accumulators lie as the next product's operand wants them.
# - Copies ahead of use need two buffers, a wait, and a barrier, in that order.
# - Recomputing can be cheaper than remembering.
# - A ceiling is not a measurement.
#
# ## Where this is in minast
#
# - [kernels/attention.cu](../kernels/attention.cu), [attention_backward.cu](../kernels/attention_backward.cu),
#   [attention_tiles.cuh](../kernels/attention_tiles.cuh), [attention_mma.cuh](../kernels/attention_mma.cuh),
#   [ptx.cuh](../kernels/ptx.cuh)
# - [minast/cuda/](../minast/cuda/): which rung runs when; [minast/layers.py](../minast/layers.py): the reference
# - [tests/gpu/test_kernels_attention.py](../tests/gpu/test_kernels_attention.py): every rung at odd sizes in three thread
#   orders
# - [minast/gpu/cards.py](../minast/gpu/cards.py): the published peaks and their sources;
#   [kernels/README.md](../kernels/README.md): what the emulator counts
# - Papers: [Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867) (online softmax),
#   [Dao et al. 2022](https://arxiv.org/abs/2205.14135) (FlashAttention),
#   [Shah et al. 2024](https://arxiv.org/abs/2407.08608) (FlashAttention-3)
#
# ## Next
#
# [9. What does it hear](09_what_does_it_hear.ipynb): what a trained model attends to, and how such pictures mislead.
