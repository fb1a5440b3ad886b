# %% [markdown]
# # 7. Your first kernel
#
# ![You are here](pictures/here_07.svg)
#
# After this notebook you can write a CUDA kernel, run it without a GPU, find the three classic bugs in it (an access
# outside an array, a race, a barrier that not everybody reaches), and count what it asks of the hardware. You write
# softmax and the patches of AST, step by step, and then read the real kernels of minast, which will hold no surprises.
#
# No GPU is needed: minast's emulator runs the very same sources on a CPU, and counts what they ask for. How fast a
# kernel is on a GPU only a GPU can tell, so this notebook does not say.
#
# **Needs:** NumPy; [notebook 2](02_patches.ipynb) (patches) and the softmax of [notebook 3](03_backprop.ipynb); Linux
# (or WSL) and `g++`.

# %%
import numpy as np

import lab
import show
from exercises import first_kernel as check
from figures import first_kernel as draw
from minast import cuda, layers
from minast.gpu.cards import A100
from minast.launch import emulation, launch

lab.need_emulator()  # says in a sentence what is missing, if anything is
show.style()
rng = np.random.default_rng(7)

# %% [markdown]
# ## 7.1 One thread, one number
#
# A GPU runs thousands of *threads* at a time. You write the program of **one** thread, a *kernel*; every thread runs
# it, and asks who it is to know which part of the work is its own. Threads come in *blocks* of up to 1024, and a
# launch starts a *grid* of blocks:
#
# - `threadIdx.x` is a thread's number in its block, `blockDim.x` how many threads a block has;
# - `blockIdx.x` is the block's number in the grid.
#
# ![Thread, warp, multiprocessor, memory](pictures/gpu.svg)
#
# The right half of the picture becomes important from section 7.4 on.
#
# Kernels are written in C++, of which this notebook needs little. Each variable has a type (`int`, `float`; `2.0f` is a
# float number), each statement ends with `;`. `float* x` is a *pointer*, the address where an array begins: `x[i]` is
# its element i, and after `x += n` it begins n elements further on. It does not know the array's length. `const`
# promises not to write there. Between integers `/` is Python's `//` (here nothing is negative), and `a ? b : c` is
# Python's `b if a else c`.
#
# Here is the smallest useful kernel. `__global__` marks what Python may launch.

# %%
first = lab.file("""
__global__ void who(int* block, int* thread, float* y) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  block[i] = blockIdx.x;
  thread[i] = threadIdx.x;
  y[i] = 2.0f * i;
}
""")
block, thread = np.empty(32, np.int32), np.empty(32, np.int32)
y = np.empty(32, np.float32)
launch(first, "who", grid=4, block=8, args=(block, thread, y))
print("y =", y)
assert (y == 2 * np.arange(32)).all()

# %% [markdown]
# `launch` takes the file, the kernel's name, the grid, the block and the arguments in the order of the declaration.
# On a GPU the arrays would be CuPy's and the call the same. Which thread wrote which element? The kernel told us:

# %%
draw.who_writes(block, thread)

# %% [markdown]
# ## 7.2 The end of the array
#
# A launch has blocks of one size, arrays have any size. To cover 100 elements with blocks of 32 we need $\lceil 100/32
# \rceil = 4$ blocks, which are 128 threads: 28 too many. What do they do?

# %%
twice = """
__global__ void twice(const float* x, float* y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = 2.0f * x[i];
}
"""
x = np.arange(100, dtype=np.float32)
y = np.zeros_like(x)
ran = lab.attempt(lab.file(twice, "twice.cu"), "twice", 4, 32, (x, y, x.size))
assert not ran

# %% [markdown]
# The emulator puts each array so that it **ends at a page of memory that may not be read**. The first access beyond it
# stops the kernel, and the report says which thread, which argument, which element and which line. A GPU has no such
# page right behind the array: most likely the thread reads whatever lies there and writes over what is not its own,
# without a word. Such a bug shows up days later, somewhere else. The cure is one condition:

# %%
launch(lab.file(twice.replace("y[i] =", "if (i < n) y[i] ="), "twice.cu"), "twice", 4, 32, (x, y, x.size))
assert (y == 2 * x).all()
print("100 elements right, 28 threads had nothing to do")

# %% [markdown]
# Another mistake never reaches the kernel. C reads the bytes it is given: a float64 array where the kernel says
# `float*` would be read as nonsense. `launch` compares each argument with the declaration, on a GPU too.

# %%
path = lab.file(twice, "twice.cu")
for args in ((x.astype(np.float64), y, x.size), (x[::2], y, x.size), (x, y, np.int64(x.size))):
    lab.attempt(path, "twice", 4, 32, args)

# %% [markdown]
# ## 7.3 Watching threads at work
#
# `printf` works inside a kernel. In which order do threads run? **In none that you may count on.** The emulator lets
# you choose one: forward, reverse, or random with a seed. A right kernel gives the same in all of them.

# %%
chatty = lab.file("""
__global__ void chatty(const float* x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  printf("  block %d thread %d sees x[%d] = %g\\n", blockIdx.x, threadIdx.x, i, x[i]);
}
""")
for modes in ({"order": "forward"}, {"order": "reverse"}, {"order": "random", "seed": 3}):
    print(modes)
    with emulation(**modes, workers=1):
        launch(chatty, "chatty", grid=2, block=2, args=(10 * np.arange(4, dtype=np.float32),))

# %% [markdown]
# To go line by line, there is a debugger: `emulation(debug=True, workers=1)` compiles a kernel so that `gdb` stops in
# it and prints its variables. [kernels/README.md](../kernels/README.md), "How to run a kernel on a laptop", shows such
# a session.
#
# **Two dimensions.** Grid and block may have up to three. A matrix takes `x` along the columns and `y` along the
# rows: `blockIdx.y`, `blockDim.y`, `threadIdx.y`, and in Python `grid=(2, 3), block=(32, 4)`. Element (r, c) of a matrix
# with C columns lies at `r * C + c`: NumPy's order.
#
# ### Exercise 7.1 ★ Predict, then write
#
# Write `add_bias`: `y[r, c] = x[r, c] + b[c]`. x and y have `rows` x `columns` elements, b has `columns`. The check
# launches just enough blocks of (32, 4) to cover everything: `threadIdx.x` and `blockIdx.x` along the columns. Before
# you write, predict: for 13 x 67 elements, how many blocks is that, and how many threads have nothing to do?
#
# <details><summary>Hint</summary>
#
# $\lceil 67/32 \rceil = 3$ blocks along x, $\lceil 13/4 \rceil = 4$ along y: 12 blocks of 128 threads for 871 elements.
# The 665 others come in two kinds, too far right and too far down, and one `if` must stop both.
#
# </details>
#
# [Solution](solutions/first_kernel.py)

# %%
add_bias = """
__global__ void add_bias(const float* x, const float* b, float* y, int rows, int columns) {
  // your code: replace this line
}
"""

# %%
check.add_bias(add_bias)

# %% [markdown]
# ## 7.4 Softmax, one thread a row
#
# $$p_c = \frac{e^{x_c - m}}{\sum_k e^{x_k - m}}, \qquad m = \max_k x_k$$
#
# The maximum is subtracted so that no exponential overflows (notebook 3). The plainest kernel gives each row to one
# thread, which walks over it three times: maximum, sum, result.

# %%
by_rows = lab.file("""
__global__ void softmax_rows(const float* x, float* p, int rows, int columns) {
  int r = blockIdx.x * blockDim.x + threadIdx.x;
  if (r >= rows) return;
  x += r * columns;  // now x[0] is the row's first element
  p += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = 0; c < columns; c++) top = fmaxf(top, x[c]);
  for (int c = 0; c < columns; c++) sum += expf(x[c] - top);
  for (int c = 0; c < columns; c++) p[c] = expf(x[c] - top) / sum;
}
""")
x = rng.normal(0, 3, (70, 37)).astype(np.float32)
want, _ = layers.softmax_forward(x.astype(np.float64))
p = np.full_like(x, np.nan)
launch(by_rows, "softmax_rows", grid=2, block=64, args=(x, p, *x.shape))
print(f"largest error against the reference: {np.abs(p - want).max():.1e}")
assert np.abs(p - want).max() < 1e-6

# %% [markdown]
# Right, and wasteful on a GPU. To see why, we look at the **addresses**. Threads do not go to memory one by one: 32 of
# them, a *warp*, run the same instruction together (neighbours in `threadIdx.x`: a block of (32, 4) is four warps, one
# for each `threadIdx.y`), and their 32 addresses make one request. Memory answers in
# *sectors* of 32 bytes, eight floats: it delivers the whole sector or nothing. If 32 lanes (threads of a warp) read
# 32 neighbours, that is 4 sectors, and every byte is used. If they read 32 places far apart, it is 32 sectors, and 28
# of each 32 bytes are thrown away. Requests whose addresses lie together are called *coalesced*.
#
# Let two kernels write down what they would read: one thread a row, and one warp a row.

# %%
addresses = lab.file("""
__global__ void one_thread_a_row(int* element, int columns) {
  for (int step = 0; step < columns; step++)
    element[step * 32 + threadIdx.x] = threadIdx.x * columns + step;
}
__global__ void one_warp_a_row(int* element, int columns) {
  for (int c = threadIdx.x; c < columns; c += 32)
    element[c / 32 * 32 + threadIdx.x] = c;
}
""")
columns, reads = 64, {}
for kernel, steps in (("one_thread_a_row", columns), ("one_warp_a_row", columns // 32)):
    reads[kernel] = np.empty((steps, 32), np.int32)  # (step, lane): which element of x
    launch(addresses, kernel, 1, 32, (reads[kernel], columns))

# %%
found = draw.requests({kernel: 4 * element[0] for kernel, element in reads.items()})  # the first step's request
assert found == {"one_thread_a_row": 32, "one_warp_a_row": 4}

# %% [markdown]
# The other 28 bytes of each sector are wanted at the next steps. A cache may still have them by then, or not: 32 rows
# times thousands of warps is more than it holds. The rule to keep: **neighbouring threads read neighbouring
# addresses.** For softmax that means that several threads share a row. So they have to talk to each other.
#
# We need not draw addresses each time: the emulator counts them. `emulation(report=True)` puts the lanes of each warp
# side by side, as the hardware does, and says per source line how many requests there were, how many sectors they
# touched, and how many would have held the bytes that were asked for.

# %%
wide = rng.normal(0, 3, (64, 64)).astype(np.float32)
with emulation(report=True) as report:
    launch(by_rows, "softmax_rows", grid=1, block=64, args=(wide, np.empty_like(wide), *wide.shape))
for line in report[0].lines:
    if line.requests:
        print(f"{line.requests:4} requests {line.sectors:5} sectors, {line.least_sectors} would do:  {line.text}")
print(f"each element of x is read {report[0].arguments['x'].reads.max()} times, of p written once")
assert report[0].total.sectors == 8 * report[0].total.least_sectors
assert (report[0].arguments["x"].reads == 3).all() and (report[0].arguments["p"].writes == 1).all()

# %% [markdown]
# Eight times as many sectors as necessary, in each of the three walks: one useful float of eight. (`print(report)` shows
# all that was counted; [kernels/README.md](../kernels/README.md), "What the emulator counts", explains it.)
#
# ## 7.5 Shared memory and barriers
#
# The threads of a block share a small, fast memory on the chip: `__shared__ float part[64];` is one array for the
# whole block, and starts with garbage. (The emulator fills it with NaN, so that garbage is seen.) A sum over 64
# threads is then a *tree*: half of the threads each add one other value to their own, then a quarter, and so on,
# $\log_2 64 = 6$ steps.
#
# Before a thread reads what another has written, both must have arrived at a *barrier*, `__syncthreads()`: nobody
# goes on until the whole block is there, and what was written before it is seen by all after it. The kernel writes down
# what `part` holds after each step.

# %%
tree_text = """
__global__ void tree(const float* x, float* trace, float* total) {
  __shared__ float part[64];
  int t = threadIdx.x;
  part[t] = x[t];
  __syncthreads();                  // (a) before others read part[t]
  for (int half = 32, step = 0; half > 0; half /= 2, step++) {
    if (t < half) part[t] += part[t + half];
    __syncthreads();                // (b) before the next step reads the sums
    trace[step * 64 + t] = part[t];
  }
  if (t == 0) *total = part[0];
}
"""
ones, trace, total = np.ones(64, np.float32), np.empty((6, 64), np.float32), np.empty(1, np.float32)
launch(lab.file(tree_text), "tree", 1, 64, (ones, trace, total))
assert total[0] == 64

# %%
draw.tree(trace)

# %% [markdown]
# Left of each white line are the threads that added at that step. After six steps thread 0 holds all 64 ones.
#
# ## 7.6 A race
#
# What if barrier (a) is missing? Then a thread may read `part[t + half]` before its owner has written it. Which of the
# two happens first is decided by chance: a *race*. On a GPU the 32 lanes of a warp often move together, so the bug may
# sleep for months. The emulator runs each thread on until it has to wait, in the order you ask for:

# %%
x64 = np.arange(64, dtype=np.float32)


def totals(text):
    """The sum that the kernel finds in each thread order."""
    path, found = lab.file(text), []
    for modes in lab.ORDERS:
        total = np.full(1, -1, np.float32)
        with emulation(**modes):
            launch(path, "tree", 1, 64, (x64, trace, total))
        found.append(total[0])
    return found


without_a = tree_text.replace("__syncthreads();                  // (a)", "// (a)")
without_b = tree_text.replace("__syncthreads();                // (b)", "// (b)")
table = {"both": totals(tree_text), "without (a)": totals(without_a), "without (b)": totals(without_b)}
print(f"{'barriers':14}", *(f"{m['order']:>8}" for m in lab.ORDERS), "   (right: 2016)")
for name, found in table.items():
    print(f"{name:14}", *(f"{v:8g}" for v in found))
assert table["both"] == [2016] * 4
assert np.isnan(table["without (a)"][0]) and table["without (a)"][1] == 2016
assert not np.isnan(table["without (b)"]).any() and 2016 not in table["without (b)"]
assert table["without (b)"][0] == sum((0, 32, 16, 8, 4, 2, 1)) and table["without (b)"][2] != table["without (b)"][3]

# %% [markdown]
# Three things to see:
#
# - Without (a), forward, the sum is NaN: thread 0 read what nobody had written, and shared memory started as NaN.
# - Without (a), in reverse, it is right, since whoever is read has already run. **One green run proves nothing**:
#   minast's tests run each kernel in all three orders.
# - Without (b) the number looks sound and is wrong, differently in each random order. Forward it is
#   $0 + 32 + 16 + 8 + 4 + 2 + 1 = 63$: thread 0 ran through all its steps before the others had added anything.
#
# ## 7.7 Softmax, one block a row
#
# Now each row has 64 threads. Thread t takes columns t, t + 64, t + 128 and so on: neighbours read neighbours. Two
# trees, one for the maximum and one for the sum, in the same shared array.

# %%
block_text = """
__global__ void softmax_block(const float* x, float* p, int columns) {
  __shared__ float part[64];
  int t = threadIdx.x;
  x += blockIdx.x * columns;
  p += blockIdx.x * columns;

  float top = -INFINITY;
  for (int c = t; c < columns; c += 64) top = fmaxf(top, x[c]);
  part[t] = top;
  for (int half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] = fmaxf(part[t], part[t + half]);
  }
  __syncthreads();
  top = part[0];
  __syncthreads();  // everybody has read the maximum

  float sum = 0.0f;
  for (int c = t; c < columns; c += 64) sum += expf(x[c] - top);
  part[t] = sum;
  for (int half = 32; half > 0; half /= 2) {
    __syncthreads();
    if (t < half) part[t] += part[t + half];
  }
  __syncthreads();
  for (int c = t; c < columns; c += 64) p[c] = expf(x[c] - top) / part[0];
}
"""


def errors(text, kernel="softmax_block"):
    """The largest error of a kernel in each thread order."""
    path, found = lab.file(text), []
    for modes in lab.ORDERS:
        p = np.full_like(x, np.nan)
        with emulation(**modes):
            launch(path, kernel, grid=len(x), block=64, args=(x, p, x.shape[1]))
        found.append(float(np.abs(p - want).max()))
    return found


print("thread order:   ", *(f"{m['order']:>9}" for m in lab.ORDERS))
print("all barriers:   ", *(f"{e:9.1e}" for e in errors(block_text)))
assert max(errors(block_text)) < 1e-6

# %% [markdown]
# The barrier commented "everybody has read the maximum" looks superfluous: there is one just before it. But after that
# one, a fast thread reads `part[0]`, goes on, and writes its share of the sum into `part[t]`; if it is thread 0, a slow
# thread takes that for the maximum. Let us remove it:

# %%
racing = block_text.replace("__syncthreads();  // everybody", "// everybody")
found = errors(racing)
print("one barrier less:", *(f"{e:9.1e}" for e in found))
assert min(found) > 0.1

# %% [markdown]
# Wrong in every order: whoever goes on after thread 0 takes a sum for the maximum. Softmax has one mercy: the maximum
# cancels out of the formula, so a wrong one does harm only where threads disagree on it, or where it lets an
# exponential overflow or all of them vanish. Give all threads the same wrong maximum, and no test on small numbers will
# notice.
#
# ### Exercise 7.2 ★★ Find the race
#
# Here is another kernel with one mistake of this kind. Each block reverses its 64 numbers, twice as large. First say
# which two accesses race. Then find the missing barrier and assign the whole source, with it, to `fixed_reverse`; the
# numbers are to go through shared memory as they do now. Is each of the other barriers needed?
#
# <details><summary>Hint</summary>
#
# Follow one element of `box`: who writes it, who reads it, who writes it again? Between each two of these, if they are
# different threads, a barrier must lie. For the last one ask which thread reads `box[t]` at the end.
#
# </details>
#
# [Solution](solutions/first_kernel.py)

# %%
reverse = """
__global__ void reverse(const float* x, float* y, int n) {
  __shared__ float box[64];
  int t = threadIdx.x, i = blockIdx.x * 64 + t;
  box[t] = i < n ? x[i] : 0.0f;
  __syncthreads();
  float mine = box[63 - t];
  box[t] = 2.0f * mine;
  __syncthreads();
  if (i < n) y[i] = box[t];
}
"""
fixed_reverse = ...  # your code: replace this line; the source with its barrier in place

# %%
check.fixed_reverse(fixed_reverse)

# %% [markdown]
# ## 7.8 A barrier that not everybody reaches
#
# A barrier waits for the whole block. If a condition lets only some threads come to it, the others wait somewhere else,
# or for ever. It is tempting to write "threads without work skip this":

# %%
divergent = lab.file(
    """
__global__ void skip(const float* x, float* y, int n) {
  __shared__ float part[64];
  int t = threadIdx.x;
  if (t < n) {
    part[t] = x[t];
    __syncthreads();
  } else {
    part[t] = 0.0f;
    __syncthreads();
  }
  y[t] = part[63 - t];
}
""",
    "skip.cu",
)
assert not lab.attempt(divergent, "skip", 1, 64, (x64, np.empty(64, np.float32), 40))

# %% [markdown]
# The report says who waits where. Those are two different barriers, although both are called `__syncthreads`. CUDA
# leaves undefined what happens then: a GPU may hang, or take the two for one and go on. The rule: **a barrier stands
# where all threads of the block come by**, outside of `if` and of loops whose length differs between threads. Inside
# an `if`, put the work, not the barrier:
# `part[t] = t < n ? x[t] : 0.0f; __syncthreads();`
#
# ## 7.9 Warps and shuffles
#
# The 32 lanes of a warp can exchange values without shared memory. `__shfl_xor_sync(mask, v, step)` gives each lane
# the `v` of the lane whose number differs in the bits of `step`, which is `lane ^ step`; `mask` says which lanes take
# part (all: `0xffffffff`). After five exchanges, with steps 16, 8, 4, 2, 1, **every** lane holds the sum of all 32.
# No barrier was needed, since the value travels with the exchange itself, from register to register, and the lanes
# named in `mask` wait for each other there. That is all a shuffle promises: it brings lanes together, and it orders
# **no memory**. Lanes that hand data to each other through shared memory need `__syncwarp()` (or a block's barrier)
# between writing and reading, shuffle or not.

# %%
butterfly = lab.file("""
__global__ void butterfly(unsigned* trace) {
  unsigned seen = 1u << threadIdx.x;  // a bit for each lane whose value is in here
  for (int step = 16, row = 0; step > 0; step /= 2, row++) {
    seen |= __shfl_xor_sync(0xffffffffu, seen, step);
    trace[row * 32 + threadIdx.x] = seen;
  }
}
""")
seen = np.empty((5, 32), np.uint32)
launch(butterfly, "butterfly", 1, 32, (seen,))
assert (seen[-1] == 0xFFFFFFFF).all()

# %%
draw.butterfly(seen)

# %% [markdown]
# Row i is what lane i holds, blue where the value of lane j is in its sum. Each step doubles their number.
#
# With a warp a row, softmax has no barrier and no shared memory. And the first two walks become one. Keep a maximum
# $m$ and the sum $s = \sum e^{x_k - m}$ of what was seen so far; a new value $x$ makes
#
# $$m' = \max(m, x), \qquad s' = s\, e^{m - m'} + e^{x - m'}$$
#
# since $\sum_k e^{x_k - m'} = e^{m - m'} \sum_k e^{x_k - m}$. This is the *online softmax* of notebook 4
# ([Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867)). Two lanes with $(m_1, s_1)$ and $(m_2, s_2)$ are
# put together by the same rule: $s = s_1 e^{m_1 - m} + s_2 e^{m_2 - m}$.

# %%
warp_text = """
__global__ void softmax_warp(const float* x, float* p, int rows, int columns) {
  int r = blockIdx.x * blockDim.y + threadIdx.y;  // block (32, 4): a warp for each of four rows
  if (r >= rows) return;                          // the whole warp leaves: no lane is missed
  x += r * columns;
  p += r * columns;
  float top = -INFINITY, sum = 0.0f;
  for (int c = threadIdx.x; c < columns; c += 32) {
    float above = fmaxf(top, x[c]);
    sum = sum * expf(top - above) + expf(x[c] - above);
    top = above;
  }
  float highest = top;
  for (int step = 16; step > 0; step /= 2)
    highest = fmaxf(highest, __shfl_xor_sync(0xffffffffu, highest, step));
  sum *= expf(top - highest);                     // a lane without values: 0 * exp(-inf) = 0
  for (int step = 16; step > 0; step /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, step);
  for (int c = threadIdx.x; c < columns; c += 32) p[c] = expf(x[c] - highest) / sum;
}
"""
p = np.full_like(x, np.nan)
launch(lab.file(warp_text), "softmax_warp", grid=18, block=(32, 4), args=(x, p, *x.shape))
print(f"largest error: {np.abs(p - want).max():.1e}")
assert np.abs(p - want).max() < 1e-6

# %% [markdown]
# Three versions of softmax, and what the emulator counts for each, on 64 rows of 64:

# %%
versions = (
    ("one thread a row", by_rows, "softmax_rows", (1, 64), wide.shape),
    ("one block a row", lab.file(block_text), "softmax_block", (64, 64), wide.shape[1:]),
    ("one warp a row", lab.file(warp_text), "softmax_warp", (16, (32, 4)), wide.shape),
)
rows, counted = [], {}
for name, path, kernel, (grid, block), sizes in versions:
    with emulation(report=True) as report:
        launch(path, kernel, grid, block, (wide, np.empty_like(wide), *sizes))
    found = counted[name] = report[0]
    reads = found.arguments["x"].reads.max()
    rows.append(
        (name, reads, found.total.sectors, found.barriers[1], found.total.special, f"{found.lanes_at_work:.0f}")
    )
header = ("softmax", "reads of x", "sectors", "barriers", "exponentials, divisions", "lanes at work of 32")
show.table(rows, header)
assert [row[1] for row in rows] == [3, 3, 2] and rows[0][2] == 8 * rows[1][2] and rows[2][2] == 3 * rows[1][2] // 4

# %% [markdown]
# The walk over x that the online softmax saves costs exponentials: two for each value it sees, where the other walks
# need one. Which matters more? Divide what was counted by what a GPU does at best in a second, by its maker's data
# sheet. None of these times has been measured; notebook 8 says what such figures are worth.

# %%
print(f"an {A100.name} at its published peaks, in ns (memory: with a perfect cache, and without any)")
for name, found in counted.items():
    roof = {what: 1e9 * seconds for what, seconds in found.roofline(A100).items()}
    without = 1e9 * found.bytes_moved / A100.memory
    on_chip = f"shared memory {roof['shared memory']:4.1f}  exponentials, divisions {roof['special functions']:.1f}"
    print(f"{name:17} memory {roof['memory']:.1f} to {without:5.1f}  {on_chip}")
    assert name != "one block a row" or roof["shared memory"] > roof["memory"] > roof["special functions"]
    assert name != "one warp a row" or roof["memory"] > roof["special functions"]

# %% [markdown]
# The two trees of the block version ask shared memory for more than the best case of all memory traffic. The warp
# version has no trees, and its extra exponentials stay below the memory's share: by this count it is the one to take.

# %% [markdown]
# ### Exercise 7.3 ★★ A warp's share
#
# Write `log_sum_exp`: `lse[r]` $= \log \sum_c e^{x_{rc}}$, without overflow, one warp a row; the
# check launches blocks of (32, 4), and enough of them along x. Rows may be shorter than 32, and values as large as 1000.
# All lanes share the work on a row, and one of them writes the result (`logf` is the logarithm). You may take anything
# from above. The check looks at the numbers, and then at what each lane has read.
#
# <details><summary>Hint</summary>
#
# $\log \sum_c e^{x_c} = m + \log \sum_c e^{x_c - m}$. Which of the two sums does `softmax_warp` have already? A lane
# that saw no value has $m = -\infty$ and $s = 0$: what becomes of it when it meets the others?
#
# </details>
#
# [Solution](solutions/first_kernel.py)

# %%
log_sum_exp = """
__global__ void log_sum_exp(const float* x, float* lse, int rows, int columns) {
  // your code: replace this line
}
"""

# %%
check.log_sum_exp(log_sum_exp)

# %% [markdown]
# ## 7.10 The real softmax
#
# This is what minast runs. Four things are new: `T` is a template parameter, so that one source serves float and two
# 16-bit kinds of it; a lane loads four neighbours at a time (16 bytes of float in one instruction) where rows allow; it issues four
# such loads before it uses the first, since each takes hundreds of cycles, and so waits once and not four times; and masked
# values, $-\infty$, give no NaN as long as a row has a finite one. `warp_max` and `warp_sum` are the butterflies. `Raw` is what was loaded, not
# yet converted.
#
# Words you meet in it: `__device__` marks what a kernel may call, and `__forceinline__` puts its text where it is called;
# `#pragma unroll` writes a loop of known length out; `long long` is an integer of 8 bytes, for arrays beyond $2^{31}$
# elements; `WARP` is 32, `FULL` the mask of all lanes; `fours` asks whether rows may be read four at a time.
# The versions of one function, from plain to fast, are called its *rungs*: rung 0 is section 7.4, rung 1 what you see
# here.

# %%
show.kernel("softmax.cu", "softmax_forward")
show.kernel("common.cuh", "warp_sum", "load_raw", "load_row")

# %% [markdown]
# Sixteen bytes a lane pay only where the rows allow them. With 64 columns they do; with 37 the lanes fall back to four
# loads of one float each, in which neighbouring lanes lie 16 bytes apart: the report shows the price.

# %%
for version, name in ((0, "one thread a row"), (1, "one warp a row, online")):
    p, _ = cuda.softmax_forward(x, version=version)
    print(f"rung {version}, {name}: largest error {np.abs(p - want).max():.1e}")
    assert np.abs(p - want).max() < 1e-6
share = {}
for one in (wide, x):
    with emulation(report=True) as report:
        cuda.softmax_forward(one, version=1)
    total = report[0].total
    share[one.shape[1]] = total.least_sectors / total.sectors
    print(f"rung 1, {one.shape[1]} columns: {total.sectors} sectors, {share[one.shape[1]]:.0%} of them necessary")
assert share[64] == 1 and share[37] < 0.5

# %% [markdown]
# ## 7.11 Unfold: data that lies the wrong way round
#
# AST cuts its spectrogram x (frames T, mel bins F) into patches of 16 x 16, with stride 10 (notebook 2). Value (i, j)
# of patch (f, t), with i the mel bin and j the frame inside it, is
#
# $$\text{out}[f \cdot g_t + t,\; 16 i + j] = x[\,10 t + j,\; 10 f + i\,]$$
#
# where $g_t$ is the number of patches in time. There is nothing to compute, only addresses. One thread a value of the
# result, and `/` and `%` to take its index apart:

# %%
unfold = lab.file("""
__global__ void unfold(const float* x, float* out, int bins, int grid_t, int stride, int count) {
  int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (at >= count) return;
  int i = at % 256 / 16, j = at % 16, patch = at / 256;
  int t = patch % grid_t, f = patch / grid_t;
  out[at] = x[(t * stride + j) * bins + f * stride + i];
}
""")
T, F, stride = 56, 128, 10
mel = rng.normal(size=(T, F)).astype(np.float32)
gf, gt = (F - 16) // stride + 1, (T - 16) // stride + 1
patches, _ = layers.unfold_forward(mel[None], stride, stride)
out = np.empty((gf * gt, 256), np.float32)
launch(unfold, "unfold", -(-out.size // 256), 256, (mel, out, F, gt, stride, out.size))
assert (out == patches[0]).all()
print(f"{gf} x {gt} = {len(out)} patches, all equal to the reference")

# %% [markdown]
# Exact, and again not coalesced. A warp writes 32 neighbours of the result, but neighbours in the result are neighbours
# in **time** (j), and in memory time steps lie F = 128 floats apart. The first warp's addresses:

# %%
lane = np.arange(32)
i, j = lane // 16, lane % 16  # of patch (0, 0)
found = draw.requests({"loads from x": 4 * (j * F + i), "stores to out": 4 * lane}, height=4)
assert found == {"loads from x": 16, "stores to out": 4}

# %% [markdown]
# This is a transposition in disguise, and there is one remedy for all of them: **go through shared memory.** A block
# takes 16 whole frames, which lie one behind the other (coalesced loads), puts them into shared memory, waits at a
# barrier, and writes all patches that start at that frame (coalesced stores). Between the two, it reads the shared
# memory in the awkward direction, which costs no sectors there.

# %%
show.kernel("unfold.cu", "unfold_strip")

# %% [markdown]
# `extern __shared__ float strip[]` is shared memory whose size is given at the launch. And `pitch`? Shared memory has a
# law of its own. It consists of 32 *banks*; the float with index k lies in bank k mod 32. In one clock each bank serves
# one float: if two lanes want different floats of one bank, they take turns (a *bank conflict*). The kernel reads
# `strip[(j + k) * pitch + f * fstride + i]`, a warp with 4 values of j and 8 of i at a time. From the addresses:

# %%
i, j = lane // 4, lane % 4 * 4  # what the lanes of the first warp read at k = 0, f = 0
wanted = {pitch: np.bincount((j * pitch + i) % 32, minlength=32) for pitch in (128, 129, 130)}
draw.banks(wanted)
assert {pitch: w.max() for pitch, w in wanted.items()} == {128: 4, 129: 2, 130: 1}

# %% [markdown]
# With rows of 128 floats all four frames start in the same bank: four turns. Two unused floats at the end of each row
# shift the frames apart, and each bank is asked once. The emulator counts the same for the kernel itself, launched with
# each pitch:

# %%
for pitch in (128, 129, 130):
    args = (mel, np.empty((gf * gt, 256), np.float32), T, F, gf, gt, stride, stride, pitch)
    with emulation(report=True) as report:
        launch("unfold.cu", "unfold_strip<float>", (gt, 1), 256, args, shared_bytes=4 * 16 * pitch)
    (read,) = (n for n in report[0].lines if "value[k] = strip" in n.text)
    each = read.turns // read.shared_requests
    print(f"pitch {pitch}: {read.shared_requests} requests take {read.turns} turns, {each} each")
    assert read.turns == read.shared_requests * wanted[pitch].max()
print(f"and none of the {report[0].total.sectors} sectors of global memory is touched in vain")
assert report[0].total.sectors == report[0].total.least_sectors

# %% [markdown]
# ### Exercise 7.4 ★★ Count the turns
#
# Write `turns(indices)`: how many turns a warp takes to read shared memory, given the 32 float indices
# its lanes want. Lanes that want the **same** index are served together (a *broadcast*) and count once. Predict first:
# how many for `indices = 2 * lane`, and for `indices = 33 * lane`?
#
# <details><summary>Hint</summary>
#
# Forget about lanes: only different indices count. The fullest bank decides, and `np.unique` and `np.bincount` count.
#
# </details>
#
# [Solution](solutions/first_kernel.py)


# %%
def turns(indices):
    return ...  # your code: replace this line


# %%
check.turns(turns)

# %% [markdown]
# ### Exercise 7.5 ★★★ Design a transposition
#
# Write `turned`: `y[c, r] = x[r, c]`, where x has `rows` x `columns` elements. The check launches blocks of (32, 8), one
# for each tile of 32 x 32, with `blockIdx.x` along x's columns. It accepts only what wastes nothing: each request touches
# as few sectors as hold its bytes, when reading *and* when writing, and shared memory takes no turn too many.
#
# <details><summary>Hint</summary>
#
# A block's eight warps read the 32 rows of its tile, four rows each, and put them into `__shared__ float tile[32][...]`.
# After a barrier the lanes must lie along the rows of **y**: so lane and loop change places when reading the tile. Then
# look at what the lanes of one warp read of it: which banks are those if a row has 32 floats?
#
# </details>
#
# [Solution](solutions/first_kernel.py)

# %%
turned = """
__global__ void turned(const float* x, float* y, int rows, int columns) {
  // your code: replace this line
}
"""

# %%
check.turned(turned)

# %% [markdown]
# ## 7.12 Backwards: gather, do not scatter
#
# The adjoint of unfold (notebook 2) adds up, for each x[s, m], the gradients of all patches that saw it. Written from
# the patches' side, several threads add to one address: a race, unless each addition is *atomic* (undivided), and then
# the order of the additions, and with it the rounding, differs from run to run. Written from the side of x there is no
# conflict: each x[s, m] belongs to one thread, which looks up who saw it. minast has no float atomics: two runs give the same
# bits. (Its tile has rows of 33 floats: exercise 7.5.)

# %%
show.kernel("unfold.cu", "unfold_gather")

# %%
dpatches = rng.normal(size=patches.shape).astype(np.float32)
dx = cuda.unfold_backward(dpatches, (mel[None].shape, stride, stride, 16))
left = np.vdot(patches.astype(float), dpatches)  # <U x, d>
right = np.vdot(mel[None].astype(float), dx)  # <x, U^T d>
again = cuda.unfold_backward(dpatches, (mel[None].shape, stride, stride, 16))
print(f"<U x, d> = {left:.6f}   <x, U^T d> = {right:.6f}; a second run gives the same bits: {(dx == again).all()}")
assert abs(left - right) < 1e-3 and (dx == again).all()

# %% [markdown]
# ## What to remember
#
# - A kernel is the program of one thread. Blocks have one size, arrays any: guard the end.
# - Neighbouring threads read neighbouring addresses; where data lies the wrong way round, go through shared memory.
# - A barrier between writing and reading, and another before writing again; every thread of the block comes by.
# - One right run proves nothing. Run in several orders, on odd sizes, with shared memory full of NaN.
# - Within a warp, shuffles carry values without shared memory or barriers; they order no memory.
# - Count before you guess: sectors, turns, reads of each element. A count is no time, but it says what cannot be fast.
# - Gather instead of scatter, and results repeat bit by bit.
#
# ## Where this is in minast
#
# - [kernels/softmax.cu](../kernels/softmax.cu), [kernels/unfold.cu](../kernels/unfold.cu),
#   [kernels/common.cuh](../kernels/common.cuh): what you have read; [kernels/README.md](../kernels/README.md): how to
#   add a kernel of your own, and what the emulator counts.
# - [minast/launch.py](../minast/launch.py): the one door to a kernel; [minast/emulator/run.py](../minast/emulator/run.py):
#   orders, guards, reports.
# - [tests/gpu/test_report.py](../tests/gpu/test_report.py): counts against kernels counted by hand;
#   [tests/gpu/test_mutations.py](../tests/gpu/test_mutations.py): bugs planted in the real kernels, which the tests must
#   notice.
#
# ## Next
#
# [8. Fast attention](08_fast_attention.ipynb): the same tools, seven rungs up to tensor cores.
