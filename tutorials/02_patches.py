# %% [markdown]
# # 2. Patches
#
# ![You are here](pictures/here_02.svg)
#
# A transformer reads a sequence of vectors, called **tokens**. This notebook turns the picture of notebook 1 into
# such a sequence: cut it into overlapping squares, and multiply each by a matrix. Afterwards you can count the tokens
# of any AST, cut patches without copying a byte, send gradients back through the cut, and prove that you did it
# right.
#
# **Needs:** [notebook 1](01_sound_to_pictures.ipynb) (the picture); NumPy.

# %%
import math

import numpy as np

import minast
import show
from exercises import patches as check
from figures import patches as draw
from minast import config, features, gradcheck, layers
from minast.datasets.synthetic import generate

show.style()

# %% [markdown]
# ## 2.1 One patch
#
# minast keeps a log-mel picture as an array `x` of shape (T, F): frames first, mel bins second, since that is the
# order in which features are made. A **patch** is 16 mel bins by 16 frames. Frames start every 10 ms and last 25, so it
# hears $15 \cdot 10 + 25 = 175$ ms, and an eighth of the mel scale. Patches start every 10 bins and every 10 frames; that
# distance is the **stride**. Neighbours share 6 rows or columns.

# %%
settings = minast.FeatureConfig()
sounds = {label: generate.clip(i, seed=4)[0] for i, label in enumerate(generate.LABELS)}
mean, std = settings.mean, settings.std
pictures = {label: features.normalise(minast.log_mel(w), mean, std) for label, w in sounds.items()}
x = pictures["siren"]
print("x (T, F) =", x.shape)

print(f"a patch: {15 * 10 + 25} ms; neighbours share {16 - 10} of 16 rows or columns")
draw.nine_patches(x, strides=(16, 10))

# %% [markdown]
# At stride 16 a sound that lies on a border is cut in two and no patch sees it whole. At stride 10 most of it lies well
# inside of some patch. The price is that there are more patches.
#
# ## 2.2 How many tokens
#
# Along one axis of $n$ pixels patch $i$ covers $i\,s, \dots, i\,s + 15$ at stride $s$, and has to end inside:
# $i\,s + 16 \le n$. The largest such $i$ is $\lfloor (n - 16)/s \rfloor$; counting starts at 0, so
#
# $$ \text{grid} = \left\lfloor \frac{n - 16}{s} \right\rfloor + 1, \qquad N = \text{grid}_f \cdot \text{grid}_t . $$
#
# Before the patches stand one or two **prefix tokens** that see no pixels. The first is `[CLS]`: what the transformer
# makes of it is what the **classifier** reads, the last layer, which names the sound. Models that descend from
# [DeiT](https://arxiv.org/abs/2012.12877), an image transformer that learned from another model's answers
# (**distillation**), have a second one, which learned those.
#
# ### Exercise 2.1 ★★ Design: how long may a clip be?
#
# Your machine has memory for so many tokens and no more. Write `longest_clip(tokens, mel_bins, fstride, tstride,
# prefix_tokens)`: the largest number of frames with which a model reads at most that many tokens, prefix tokens
# included; 0 if not even 16 frames are possible. `fstride` is the stride in frequency, `tstride` in time; patches are
# 16 x 16.
#
# <details><summary>Hint</summary>
#
# How many columns of patches may there be? Then: which is the last number of frames that still has that many columns?
# The frames left over at the end cost no token.
#
# </details>
#
# [Solution](solutions/patches.py)


# %%
def longest_clip(tokens, mel_bins, fstride, tstride, prefix_tokens):
    return ...  # your code: replace this line


# %%
check.longest_clip(longest_clip)

# %%
show.source(config.grid_shape)
rows = []
for frames, seconds in ((98, "1 s"), (512, "5 s"), (1024, "10 s")):
    for stride in (10, 16):
        grid = config.grid_shape(128, frames, stride, stride)
        rows.append((f"{frames} ({seconds})", stride, f"{grid[0]} x {grid[1]}", grid[0] * grid[1]))
show.table(rows, ["frames", "stride", "grid (frequency x time)", "patches"])
assert config.grid_shape(128, 1024, 10, 10) == (12, 101)

base = minast.ModelConfig.preset("base", prefix_tokens=2)
print(
    "AST on 10 s: 12 x 101 =", 12 * 101, "patches and 2 prefix tokens:", base.tokens, "tokens of", base.dim, "numbers"
)
print("with one prefix token:", minast.ModelConfig.preset("base").tokens)
print(f"tokens at stride 10 over tokens at 16: {1214 / 514:.2f}, squared {(1214 / 514) ** 2:.2f}")
assert base.tokens == 1214

# %% [markdown]
# AST's paper counts $12 \lceil (T - 16)/10 \rceil$ patches, rounding up where we round down and add one. For its own $T =
# 1024$ that is the same. Where 10 divides $T - 16$ the paper's formula is one column short:

# %%
for T in (1024, 512, 1016, 496):
    print(f"T = {T}: ours {math.prod(config.grid_shape(128, T, 10, 10))}, the paper's {12 * math.ceil((T - 16) / 10)}")
assert all(
    (config.grid_shape(128, T, 10, 10)[1] == math.ceil((T - 16) / 10)) == ((T - 16) % 10 != 0) for T in range(16, 2000)
)

# %% [markdown]
# 1212 patches and two prefix tokens make the 1214 of the published AST; with `[CLS]` alone there are 1213. Attention
# compares every token with every other one (notebook 4), so its work grows with the square: the overlap costs more
# than five times the attention of stride 16.
#
# The floor has a consequence: what is left over at the end is never seen.

# %%
for n, name in ((128, "mel bins"), (1024, "frames"), (98, "frames")):
    last = (n - 16) // 10 * 10 + 16
    print(f"{n} {name}: patches cover the first {last}, {n - last} are never seen")

# %% [markdown]
# ## 2.3 Cutting without copying
#
# Memory is one long row of bytes. An array is a note about it: where it begins, its shape, and its **strides** (NumPy's
# word, in bytes; not the patches' stride): how far to go for one step along each axis. For `x` (T, F) of 4-byte floats
# one step in time is $4F$ bytes and one in frequency 4:

# %%
print("shape", x.shape, "strides", x.strides)
print("transposed: shape", x.T.shape, "strides", x.T.strides, "- the same bytes, another note")

# %% [markdown]
# ![Overlapping patches, the order of the tokens, and of the pixels in a patch](pictures/patches.svg)
#
# Number the patches by $(f, t)$, and the pixels in a patch by $(i, j)$; in both pairs frequency comes first, in `x` it
# comes second. Pixel $(i, j)$ of patch $(f, t)$ is $x[t\,s_t + j,\; f\,s_f + i]$, which lies at the byte
#
# $$ (t\,s_t + j) \cdot 4F + (f\,s_f + i) \cdot 4 = f \cdot 4 s_f + t \cdot 4F s_t + i \cdot 4 + j \cdot 4F . $$
#
# That is linear in $(f, t, i, j)$. So all patches *are* an array of shape $(\text{grid}_f, \text{grid}_t, 16, 16)$
# over the same memory, with the strides $(4 s_f,\; 4F s_t,\; 4,\; 4F)$. Pixels that several patches share have
# several names and one place. `np.lib.stride_tricks.as_strided` writes such a note. It believes whatever you tell it:
# with wrong numbers it shows memory that is not the array's, or brings Python down. `sliding_window_view` is the safe
# way to the same thing.
#
# ### Exercise 2.2 ★★★ All patches at once, without a copy
#
# Write `patch_view(x, size, fstride, tstride)`: x (T, F) to a *view* of shape (grid_f, grid_t, size, size); frequency
# before time in both pairs. It must share memory with `x`, whatever type and strides `x` has. First predict: what are
# the four byte strides for a float64 `x` with 64 bins and strides 8 and 4?
#
# <details><summary>Hint</summary>
#
# The formula above holds for contiguous float32. `x.strides` gives the bytes of one step in time and in frequency of
# any array. With `sliding_window_view` instead: which axes come out, and in which order do you want them?
#
# </details>
#
# [Solution](solutions/patches.py)


# %%
def patch_view(x, size, fstride, tstride):
    return ...  # your code: replace this line


# %%
check.patch_view(patch_view)

# %% [markdown]
# minast's layer does it for a batch, (B, T, F), and then flattens. The last `reshape` has to copy, because no strides
# can describe flattened overlapping patches; the matrix product that follows wants them in a row.

# %%
show.source(layers.unfold_forward)

# %%
windows = np.lib.stride_tricks.sliding_window_view(x, (16, 16))[::10, ::10].transpose(1, 0, 3, 2)
patches, cache = layers.unfold_forward(x[None], 10, 10)  # (1, 108, 256)
print("view", windows.shape, "strides", windows.strides)
print("shares memory with x:", np.shares_memory(windows, x))
print("flattened", patches.shape, f"{patches.nbytes / x.nbytes:.2f} times the bytes of x")
assert np.array_equal(windows.reshape(-1, 256), patches[0]) and np.shares_memory(windows, x)
assert windows.strides == (4 * 10, 4 * 128 * 10, 4, 4 * 128)

print("tokens 36 to 53: two rows of the grid, as the model gets them")
draw.tokens(patches[0], range(4 * 9, 6 * 9), rows=2)

# %% [markdown]
# Two orders are a convention, and both belong to the published weights. Token number = $f \cdot \text{grid}_t + t$:
# time runs fastest, as in the picture above. Inside a patch, frequency is the slow axis. Flatten in another order and
# the shapes still fit, the model runs, and it hears nonsense. That is why tests compare with numbers from another
# implementation.
#
# ## 2.4 The embedding is a convolution
#
# Each patch, 256 numbers, is multiplied by one matrix $W$ of shape $(D, 256)$ and gets a bias, $y = W p + b$: a
# linear layer, the same for all patches. $D$ is the width of the model, 768 in AST base. Write row $d$ of $W$ as a 16
# x 16 **filter** $w_{d,ij}$ and put in what a patch is:
#
# $$ y_{ft,d} = b_d + \sum_{k} W_{dk}\, p_{ft,k} = b_d + \sum_{i=0}^{15}\sum_{j=0}^{15} w_{d,ij}\; x[t\,s_t + j,\; f\,s_f + i] . $$
#
# The right side is what deep learning calls a **convolution** with stride: slide a filter over the picture, multiply
# and add. (Mathematics calls it a cross-correlation; a convolution turns the filter round first.) It is the same sum,
# not a similar one, and so the official code, a convolution layer, and minast, a matrix product, share their weights.
#
# ### Exercise 2.3 ★★ The same numbers by sliding
#
# Write `convolve(x, w, b, fstride, tstride)` with loops, without unfolding: x (T, F), filters w (D, size, size) with
# frequency first, b (D,) to y (grid_f, grid_t, D).
#
# <details><summary>Hint</summary>
#
# Two loops over the grid. The part of `x` under the filter is (size, size) with *time* first, the filter has frequency
# first: transpose one of them before you multiply.
#
# </details>
#
# [Solution](solutions/patches.py)


# %%
def convolve(x, w, b, fstride, tstride):
    return ...  # your code: replace this line


# %%
check.convolve(convolve)

# %%
from scipy.signal import correlate2d

rng = np.random.default_rng(0)
w, b = rng.standard_normal((3, 16, 16)).astype(np.float32), rng.standard_normal(3).astype(np.float32)
y, _ = layers.linear_forward(patches, w.reshape(3, 256), b)  # (1, 108, 3)

slid = np.stack([correlate2d(x.T, filter_, mode="valid") for filter_ in w], axis=-1)  # every position
slid = slid[::10, ::10] + b  # (12, 9, 3): each tenth
print("matrix product", y.shape, "sliding filters", slid.shape)
print(f"largest difference {np.abs(y[0] - slid.reshape(-1, 3)).max():.0e}")
assert np.allclose(y[0], slid.reshape(-1, 3), atol=1e-3)

# %% [markdown]
# What can a filter say? Here are three made by hand: one likes a steady tone (a bright row between darker ones), one
# a sudden beginning (dark, then bright), one a pitch that rises (a bright diagonal). The mean of each is 0, so that
# level alone moves nothing. A trained model has found such filters by itself, and hundreds of others.

# %%
i, j = np.mgrid[:16, :16] - 7.5  # frequency, time
filters = {
    "steady tone": np.exp(-((i / 2) ** 2)),
    "onset": np.sign(j),
    "rising pitch": np.exp(-(((i - j) / 3) ** 2)),
}
filters = {name: (v - v.mean()) / np.linalg.norm(v - v.mean()) for name, v in filters.items()}
bank = np.stack([v.ravel() for v in filters.values()])  # (3, 256)

grid = config.grid_shape(128, 98, 2, 2)  # strides of 2: a fine grid, for the eye
answers, chosen = {}, {label: pictures[label] for label in ("bell", "clock", "siren")}
for label, one in chosen.items():
    p, _ = layers.unfold_forward(one[None].astype(float), 2, 2)
    answers[label] = layers.linear_forward(p, bank, np.zeros(3))[0][0].T.reshape(3, *grid)
draw.filter_answers(chosen, answers, filters)

# %% [markdown]
# Red: the patch around this place looks like the filter. The tone filter answers to the steady tones that a bell is
# made of, the onset filter to the clock's hits, the rising filter where the siren's pitch goes up. Blue: it looks like
# the opposite. So the onset filter turns blue where a hit ends, and the rising filter where the pitch falls.
#
# ## 2.5 The way back: the adjoint
#
# A model is trained by one number, the **loss** $\mathcal L$: how wrong its answer is. The **gradient** of an array is
# the array of the derivatives of the loss by its entries; it says how each of them moves the loss. Suppose we know it
# for the patches, $dp = \partial \mathcal L / \partial p$. What is it for the picture? Every entry of $p$ is a copy of
# one entry of $x$. Write both as long vectors; then $p = Ux$ with a matrix $U$ of zeros and ones: $U_{mk} = 1$ if entry
# $m$ of the patches is pixel $k$. Pixel $k$ moves the loss through all its copies, and these effects add up (the chain
# rule):
#
# $$ dx_k = \frac{\partial \mathcal L}{\partial x_k} = \sum_m \frac{\partial \mathcal L}{\partial p_m} \frac{\partial p_m}{\partial x_k} = \sum_m dp_m\, U_{mk} = (U^{\mathsf T} dp)_k . $$
#
# The transpose of a linear map is its **adjoint**. In words: each pixel adds up the gradients of all its copies.
# Nobody builds $U$; for a tiny picture we can, by sending in one pixel at a time. (`cache` is what minast's forward
# function hands to its backward function, here the shape of `x`, the strides and the patch size.)

# %%
small = (1, 5, 6)  # 5 frames, 6 bins; patches of 2 x 2 at strides 1 (frequency) and 2 (time)
pixels = np.eye(30).reshape(30, 5, 6)
U = np.stack([layers.unfold_forward(one[None], 1, 2, 2)[0].ravel() for one in pixels], axis=1)
cache = (small, 1, 2, 2)
entries = np.eye(len(U)).reshape(len(U), 1, -1, 4)
Ut = np.stack([layers.unfold_backward(one, cache).ravel() for one in entries], axis=1)
print("U", U.shape)
print("ones in each row:", np.unique(U.sum(axis=1)), "and in each column:", np.unique(U.sum(axis=0)))
print("unfold_backward is its transpose:", np.array_equal(Ut, U.T))
assert np.array_equal(Ut, U.T) and set(np.unique(U)) == {0, 1}

draw.adjoint(U)

# %% [markdown]
# The picture is of the transpose. Every column has one dark cell: an entry of the patches is a copy of one pixel. A row with two is a pixel that two
# patches share. The last six rows are empty: the fifth frame is left over at the end, and no patch sees it.
#
# ### Exercise 2.4 ★★ The way back
#
# Write `fold(dpatches, frames, mel_bins, fstride, tstride)`: the adjoint of `patch_view`. dpatches (grid_f, grid_t,
# size, size) to dx (frames, mel_bins). Predict before you run it: with gradients that are all 1, what does a pixel get
# that four patches see?
#
# <details><summary>Hint</summary>
#
# Start from zeros. Each patch adds its gradient to the part of `dx` that it was cut from. NumPy's `+=` on a slice does
# it; mind which axis is time.
#
# </details>
#
# [Solution](solutions/patches.py)


# %%
def fold(dpatches, frames, mel_bins, fstride, tstride):
    return ...  # your code: replace this line


# %%
check.fold(fold)

# %% [markdown]
# minast's own does not go patch by patch. It takes one place inside the patch at a time: the copies of that place in
# all patches are `stride` apart and never the same pixel, so one strided `+=` adds them all. (In this code `i` counts
# frames and `j` mel bins, since `d` was transposed to the order of `x`.)

# %%
show.source(layers.unfold_backward)

# %% [markdown]
# ## 2.6 The dot-product test
#
# How do we know that a backward function is the adjoint when $U$ is too large to build? Write $\langle a, b \rangle =
# \sum_m a_m b_m$ for the dot product. For all $x$ and $y$,
#
# $$ \langle Ux, y \rangle = \sum_m \Big(\sum_k U_{mk} x_k\Big) y_m = \sum_k x_k \Big(\sum_m U_{mk} y_m\Big) = \langle x, U^{\mathsf T} y \rangle . $$
#
# So compute $\langle Ux, y\rangle$ with the forward function and $\langle x, By\rangle$ with the backward function $B$
# under test. If $B$ is a linear map but the wrong one, $E = U^{\mathsf T} - B$ is a matrix that is not zero, and the two
# numbers differ by $\langle x, E y\rangle$. For a $y$ with $E y \ne 0$ that is zero only for $x$ in a hyperplane, and
# $E y = 0$ only for $y$ in the null space of $E$. Normal random $x$ and $y$ hit either with probability 0. So one random
# pair proves it, among *linear* maps and with probability 1, if arithmetic were exact; in floating point an $E$ below
# the rounding goes unseen. Nothing is said about a $B$ that is not linear: one that clips large gradients agrees
# wherever there are none. What the test needs is linearity, and `unfold_backward` only copies and adds. And no step
# size has to be chosen, as it has for a gradient check (notebook 3): the two numbers agree to rounding.


# %%
def dot_test(backward):
    """|<Ux, y> - <x, By>| relative to the larger, on AST's own sizes."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((1, 98, 128))
    p, cache = layers.unfold_forward(x, 10, 10)
    y = rng.standard_normal(p.shape)
    left, right = (p * y).sum(), (x * backward(y, cache)).sum()
    return abs(left - right) / max(abs(left), abs(right))


def overwrites(dpatches, cache):  # the classic: = where += belongs
    (B, T, F), fstride, tstride, size = cache
    dx = np.zeros((B, T, F))
    for n, patch in enumerate(dpatches[0].reshape(-1, size, size)):
        f, t = divmod(n, (T - size) // tstride + 1)
        dx[0, t * tstride : t * tstride + size, f * fstride : f * fstride + size] = patch.T
    return dx


def averages(dpatches, cache):
    seen = layers.unfold_backward(np.ones_like(dpatches), cache)
    return layers.unfold_backward(dpatches, cache) / np.maximum(seen, 1)


errors = {f.__name__: dot_test(f) for f in (layers.unfold_backward, overwrites, averages)}
for name, error in errors.items():
    print(f"{name:16} {error:.1e}")
seen, cache = layers.unfold_forward(x[None], 10, 10)
assert np.allclose(averages(seen, cache)[0, :96, :126], x[:96, :126], atol=1e-5)
assert errors["unfold_backward"] < 1e-12 and min(errors["overwrites"], errors["averages"]) > 1e-3

# %% [markdown]
# The averaging version deserves a word: it is what you want in order to put patches *together* again, and it does
# give the picture back. But a gradient is not a picture. $U^{\mathsf T} U$ is not the identity: it multiplies each
# pixel by the number of patches that saw it. And that gives a picture of the coverage for free.

# %%
ones = np.ones((1, 108, 256))
cache = ((1, 98, 128), 10, 10, 16)
coverage = layers.unfold_backward(ones, cache)[0]
again = layers.unfold_backward(layers.unfold_forward(x[None], 10, 10)[0], cache)[0]
print("patches that see a pixel:", np.unique(coverage).astype(int), f"on average {coverage.mean():.2f}")
assert np.allclose(again, coverage * x, atol=1e-5)
assert (coverage[96:] == 0).all() and (coverage[:, 126:] == 0).all()

draw.coverage(coverage)

# %% [markdown]
# A pixel where two patches overlap counts twice, where two rows and two columns of them do, four times; the last two
# frames and bins are never seen (the dark edges, right and top).
#
# Training does not need this adjoint at all. The gradient by the *weights*, $dW = \sum dy\, p^{\mathsf T}$ over all
# patches (notebook 3 derives it), uses the patches themselves, and the picture is data. Only a question about the
# picture needs it: which pixels mattered? Notebook 9 asks it. A gradient check, which moves all numbers by a small step
# and looks how the loss moves (notebook 3), covers unfolding and the linear layer together:

# %%
rng = np.random.default_rng(5)
picture, w, b, g = (rng.standard_normal(s) for s in ((1, 40, 36), (4, 256), (4,), (1, 9, 4)))


def loss():
    patches, _ = layers.unfold_forward(picture, 10, 10)
    return (layers.linear_forward(patches, w, b)[0] * g).sum()


patches, unfold_cache = layers.unfold_forward(picture, 10, 10)
_, linear_cache = layers.linear_forward(patches, w, b)
dw, db = np.zeros_like(w), np.zeros_like(b)
dx = layers.unfold_backward(layers.linear_backward(g, linear_cache, dw, db), unfold_cache)
result = gradcheck.directional(loss, [picture, w, b], [dx, dw, db], rng)
print(result)
assert result.error < 1e-7

# %% [markdown]
# On a GPU, where thousands of **threads** run the same function (a **kernel**) on different numbers, the sum over
# copies is a trap: many would add to the same pixel at the same time. minast's kernel turns it round: each *pixel* belongs
# to one thread, which gathers from the few patches that saw it. Mel bin $m$ lies in the patches $f$ with $f s_f \le m \le
# f s_f + 15$, that is $\lceil (m - 15)/s_f \rceil \le f \le \lfloor m / s_f \rfloor$. For whole numbers $\lceil (m -
# 15)/s_f \rceil = \lfloor (m - 16)/s_f \rfloor + 1$, which is how the kernel writes it, for both axes; `PATCH` is 16,
# `grid` the number of patches along the axis, and `/` between whole numbers drops the rest:

# %%
show.kernel("unfold.cu", "patches_of")

# %% [markdown]
# ## 2.7 Where am I? Positions
#
# The embedding treats all patches alike, and attention, as we shall see, does not care for the order of its tokens.
# Without more, a model could not tell a low tone from a high one. So each token has a learned vector of its own, the
# **position embedding**, that is added to it; and the prefix tokens, learned vectors too, are put in front.

# %%
show.source(layers.tokens_forward)

# %%
model = minast.AST(minast.ModelConfig.preset("nano", frames=98, classes=10), seed=0)
positions = model.w["pos_embed"][1:]  # without [CLS]; (108, 96)
unit = positions / np.linalg.norm(positions, axis=1, keepdims=True)
places = ((2, 1), (6, 4), (11, 8))
similar = {f"like patch {place}": (unit @ unit[place[0] * 9 + place[1]]).reshape(12, 9) for place in places}
show.maps(similar, "signed", "cosine similarity", "patch in time", "patch in frequency", limit=1, origin="lower")

# %% [markdown]
# Each picture compares the vector of one patch with those of all others, by the cosine of the angle between them: 1 is
# the same direction. minast starts them as sines and cosines of the two coordinates, so that near places have similar
# vectors from the beginning; training moves them. AST takes them from a model of images, and has to fit a square grid
# of image patches to a long grid of sound: that is a good part of notebook 6.
#
# ## What to remember
#
# * $N = (\lfloor (F - 16)/s_f \rfloor + 1)(\lfloor (T - 16)/s_t \rfloor + 1)$; 10 s of AST are 12 x 101 = 1212
#   patches, 1213 or 1214 tokens. What is left over at the ends is never seen.
# * Overlapping patches are a view: four strides over the same memory. Flattening copies.
# * A linear layer on patches is a convolution with stride. Order of tokens and of pixels belongs to the weights.
# * The gradient of copying is adding: $dx = U^{\mathsf T} dp$. The dot-product test proves a linear map to be the
#   adjoint, with one random pair and probability 1.
#
# ## Where this is in minast
#
# * [minast/layers.py](../minast/layers.py): `unfold_forward`, `unfold_backward`, `linear_forward`, `tokens_forward`,
#   `pool_forward`.
# * [minast/config.py](../minast/config.py): `grid_shape`, `ModelConfig.tokens`.
# * [kernels/unfold.cu](../kernels/unfold.cu): the same on a GPU, in two rungs.
# * [tests/model/test_layers.py](../tests/model/test_layers.py): adjoint and gradient;
#   [tests/model/test_golden.py](../tests/model/test_golden.py): PyTorch's convolution.
# * [solutions/patches.py](solutions/patches.py): the exercises, solved.
#
# ## Next
#
# [3. Backprop by hand](03_backprop.ipynb): the gradient of every layer, on paper and checked.
