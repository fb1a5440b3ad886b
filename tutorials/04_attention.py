# %% [markdown]
# # 4. Attention
#
# ![You are here](pictures/here_04.svg)
#
# After this notebook you can write attention with many heads and its complete gradient, say how much memory it takes
# and why that is too much, and compute exactly the same result in pieces that fit into a processor's cache, its small
# fast memory: online softmax forward, recomputation backward. This is the idea behind
# [FlashAttention](https://arxiv.org/abs/2205.14135), the attention of
# today's GPU libraries, and behind minast's own GPU functions (*kernels*).
#
# **Needs:** notebook [3](03_backprop.ipynb) (linear, softmax).

# %%
import tracemalloc

import numpy as np

import show
from exercises import attention as check
from figures import attention as draw
from minast import gradcheck, layers
from minast.fast import attention as fast_attention

show.style()
rng = np.random.default_rng(4)

# %% [markdown]
# ## 4.1 One head
#
# A spectrogram has become a list of $T$ *tokens*, one vector for each patch. So far every layer looked at one token at
# a time. Attention is the layer in which tokens look at each other. From each token, three linear layers make three
# vectors of $D$ numbers ($D$ is no longer the width of the whole model, as in notebook 2; that is $C$ in this notebook):
#
# - a *query* $q$: what this token looks for;
# - a *key* $k$: what it offers to be found by;
# - a *value* $v$: what it hands over when found.
#
# The *score* of token $j$ for token $i$ is the dot product $q_i \cdot k_j$, scaled. A softmax over $j$ turns the scores
# of a row into *attention weights* that sum to 1 (not learned ones, unlike a layer's), and the output is the weighted
# mean of the values ([Vaswani et al. 2017](https://arxiv.org/abs/1706.03762), equation 1):
#
# $$s_{ij} = \frac{q_i\cdot k_j}{\sqrt D}, \qquad p_{ij} = \frac{e^{s_{ij}}}{\sum_l e^{s_{il}}}, \qquad
# o_i = \sum_j p_{ij}\,v_j$$


# %%
def softmax(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def one_head(q, k, v):
    """q, k, v (T, D) -> o (T, D), p (T, T)"""
    p = softmax(q @ k.T / np.sqrt(q.shape[1]))
    return p @ v, p


# %% [markdown]
# A melody of twelve notes, each token holding its note and a little noise. Queries and keys are both the note, three
# times as large: every token looks for its like. The value is the token's time, so the output is the mean time of the
# like ones.

# %%
melody = "CEGCAEGCEAGC"
letters = sorted(set(melody))
token = np.eye(4)[[letters.index(note) for note in melody]] + 0.03 * rng.standard_normal((12, 4))
o, p = one_head(3 * token, 3 * token, np.arange(12.0)[:, None])

draw.melody(p, o[:, 0], list(melody))
print(f"the A of token 4: {p[4, 4]:.2f} to itself, {p[4, 9]:.2f} to the A of token 9; its output is {o[4, 0]:.1f}")
assert np.allclose(p.sum(axis=1), 1) and 4 < o[4, 0] < 9 and abs(p[4, 4] - p[4, 9]) > 0.05

# %% [markdown]
# Left, read a row: the dark cells are the notes of the same name. Right: equal notes have nearly equal outputs,
# wherever they stand. The two A's are tokens 4 and 9, and their output lies between; the noise makes one of them a
# little louder, so it has more weight.
#
# Attention does not know the order of its tokens. Shuffle them, and the outputs are the same ones, shuffled. That is
# why AST adds a position vector to each token before the first block.

# %%
q, k, v = rng.standard_normal((3, 12, 4))
shuffled = rng.permutation(12)
difference = one_head(q[shuffled], k[shuffled], v[shuffled])[0] - one_head(q, k, v)[0][shuffled]
print(f"shuffled before or after: {np.abs(difference).max():.0e} apart")
assert np.abs(difference).max() < 1e-12

# %% [markdown]
# ### Exercise 4.1 ★★ Design: a score that is large enough
#
# How large must a score be to matter? Of $T$ tokens (`tokens`), $n$ (`alike`) have the score $s$ and all others the
# score 0. Write `score_for(share, alike, tokens)`: the $s$ with which the $n$ get together the given `share` of the
# weight.
#
# <details><summary>Hint</summary>
#
# What is the softmax's denominator? Solve for $e^s$.
#
# </details>
#
# [Solution](solutions/attention.py)


# %%
def score_for(share, alike, tokens):
    """-> the score s"""
    return ...  # your code: replace this line


# %%
check.score_for(score_for)

# %% [markdown]
# For one token among twelve to get half of the weight, $s = \ln 11$ is enough. In a recording of 10 s there are 1214.

# %%
for others in (12, 1214):
    scores = np.where(np.arange(others) == 0, np.log(11), 0.0)
    print(f"one of {others:4} tokens with the score ln 11 = {np.log(11):.2f}: {softmax(scores)[0]:.3f} of the weight")

# %% [markdown]
# ## 4.2 Why divide by the square root of D
#
# Let the entries of $q$ and $k$ be independent, with mean 0 and variance 1. Each product $q_d k_d$ then has mean 0 and
# variance 1 (the mean of $q_d^2 k_d^2$ is that of $q_d^2$ times that of $k_d^2$), and a sum of $D$ of them has variance
# $D$: the raw scores have the size $\sqrt D$. Large scores make one weight nearly 1 and the others nearly 0. The
# Jacobian of softmax, $p_i(\delta_{ij} - p_j)$, is then nearly zero: no gradient comes through, and the layer learns
# slowly. Dividing by $\sqrt D$ keeps the variance at 1 for every $D$.

# %%
widths, rows = [4, 16, 64, 256], []
for D in widths:
    q, k = rng.standard_normal((2, 200, D))
    raw = q @ k.T
    for name, s in (("raw", raw), ("scaled", raw / np.sqrt(D))):
        p = softmax(s)
        slope = (p * (1 - p)).sum(axis=1).mean()  # the Jacobian's diagonal
        rows.append([D, name, f"{s.std():.2f}", f"{p.max(axis=1).mean():.3f}", f"{slope:.3f}"])
show.table(rows, ["D", "scores", "their deviation", "largest of 200 weights, mean", "sum of p (1 - p), mean"])
draw.sorted_weights(
    {"raw": softmax(raw), "scaled by 1 / √D": softmax(raw / np.sqrt(D))},
    "200 keys, D = 256: weights of a row, largest first",
)
largest = {name: [float(row[3]) for row in rows if row[1] == name] for name in ("raw", "scaled")}
assert np.ptp(largest["scaled"]) < 0.02 and (np.diff(largest["raw"]) > 0).all() and largest["raw"][-1] > 0.8
assert abs(raw.std() / np.sqrt(D) - 1) < 0.05

# %% [markdown]
# Raw scores: the larger $D$, the nearer is the largest weight to 1, and the smaller is the sum of $p (1 - p)$, the
# diagonal of the Jacobian, through which the gradient has to pass. Scaled, both hardly depend on $D$.
#
# ## 4.3 Many heads
#
# One softmax makes one choice. To look for several things at once, the $C$ channels (numbers) of a token are cut into
# $H$
# *heads* of $D = C / H$ channels, each with scores and a softmax of its own. AST's base model has 12 heads of 64
# channels.
#
# One linear layer makes all queries, keys and values: its output has $3C$ channels per token, *packed* in the order (3,
# H, D): first all queries, head after head, then all keys, then all values. So head $h$'s queries are channels $hD$ to
# $(h + 1)D$, its keys are $C$ further on, its values $2C$.

# %%
B, T, H, D = 2, 7, 3, 5  # odd sizes that all differ: a mixed-up axis shows
C = H * D
qkv = rng.standard_normal((B, T, 3 * C))
looped = np.empty((B, T, C))
for n in range(B):
    for h in range(H):
        here = slice(h * D, (h + 1) * D)
        q, k, v = qkv[n][:, :C][:, here], qkv[n][:, C : 2 * C][:, here], qkv[n][:, 2 * C :][:, here]
        looped[n][:, here] = one_head(q, k, v)[0]

# %% [markdown]
# The two loops become two leading axes. `reshape` names the axes in the order in which they are packed, `transpose`
# brings them into the order (3, B, H, T, D), and NumPy's `@` multiplies the last two axes for every clip and head.


# %%
def unpack(qkv, heads):
    """qkv (B, T, 3 H D) -> q, k, v (B, H, T, D)"""
    B, T, width = qkv.shape
    return qkv.reshape(B, T, 3, heads, width // 3 // heads).transpose(2, 0, 3, 1, 4)


def attention(qkv, heads):
    """qkv (B, T, 3 H D) -> o (B, T, H D), cache"""
    q, k, v = unpack(qkv, heads)
    B, H, T, D = q.shape
    p = softmax(q @ k.swapaxes(-1, -2) / D**0.5)  # (B, H, T, T); a Python number: float32 stays float32
    o = p @ v  # (B, H, T, D)
    return o.transpose(0, 2, 1, 3).reshape(B, T, H * D), (q, k, v, p)


def gap(a, b):
    """The largest difference, relative to the largest entry of b."""
    return np.abs(a - b).max() / np.abs(b).max()


o, cache = attention(qkv, H)
theirs, _ = layers.attention_forward(qkv, H)
print(f"two loops: {gap(o, looped):.1e}, minast: {gap(o, theirs):.1e}")
assert gap(o, looped) < 1e-13 and gap(o, theirs) < 1e-13

# %% [markdown]
# ### Exercise 4.2 ★★ Design: another packing
#
# Some published models pack the other way: (H, 3, D), head after head, and in each head q, k and v. You
# have such a model's weight matrix of the linear layer that makes `qkv`: (3C, C), rows are outputs. Reorder its rows so
# that minast can use it.
#
# <details><summary>Hint</summary>
#
# Name the axes in the order in which they are packed; then see which two have to change places.
#
# </details>
#
# [Solution](solutions/attention.py)


# %%
def repack(w, heads):
    """w (3 C, C), rows packed (H, 3, D) -> (3 C, C), rows packed (3, H, D)"""
    return ...  # your code: replace this line


# %%
check.repack(repack)

# %% [markdown]
# ## 4.4 The gradient, complete
#
# Given `do`, we walk back through the three formulas, for one head of one clip. Heads and clips do not touch each
# other.
#
# **Values and weights.** $o_{id} = \sum_j p_{ij} v_{jd}$ is a product of two matrices, $o = p\,v$, as in a linear
# layer:
#
# $$dv_{jd} = \sum_i p_{ij}\,do_{id}, \qquad dp_{ij} = \sum_d do_{id}\,v_{jd}
# \qquad\text{or}\qquad dv = p^\top do, \quad dp = do\,v^\top$$
#
# **Scores.** Each row of $p$ is a softmax of the same row of $s$. From notebook 3:
#
# $$ds_{ij} = p_{ij}\,(dp_{ij} - \Delta_i), \qquad \Delta_i = \sum_l dp_{il}\,p_{il}$$
#
# **Queries and keys.** $s_{ij} = \sum_d q_{id} k_{jd} / \sqrt D$ is a product again, $s = q\,k^\top/\sqrt D$:
#
# $$dq_{id} = \frac{1}{\sqrt D}\sum_j ds_{ij}\,k_{jd}, \qquad dk_{jd} = \frac{1}{\sqrt D}\sum_i ds_{ij}\,q_{id}
# \qquad\text{or}\qquad dq = \frac{ds\,k}{\sqrt D}, \quad dk = \frac{ds^\top q}{\sqrt D}$$
#
# **Unpacking** only moves numbers. Its backward pass moves them back: every number of `qkv` was used in one place.


# %%
def attention_back(do, cache):
    """do (B, T, H D) -> dqkv (B, T, 3 H D)"""
    q, k, v, p = cache
    B, H, T, D = q.shape
    do = do.reshape(B, T, H, D).transpose(0, 2, 1, 3)  # (B, H, T, D)
    dv = p.swapaxes(-1, -2) @ do
    dp = do @ v.swapaxes(-1, -2)  # (B, H, T, T)
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    dq = ds @ k / D**0.5
    dk = ds.swapaxes(-1, -2) @ q / D**0.5
    return np.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * H * D)


# %%
# varies: rounding decides which entry is the worst
do = rng.standard_normal((B, T, C))
dqkv = attention_back(do, cache)
print(gradcheck.per_entry(lambda: (do * attention(qkv, H)[0]).sum(), qkv, dqkv, name="qkv"))
of_minast = layers.attention_backward(do, layers.attention_forward(qkv, H)[1])
print(f"minast's differs by {gap(dqkv, of_minast):.1e}, relative")
assert gap(dqkv, of_minast) < 1e-12
assert gradcheck.per_entry(lambda: (do * attention(qkv, H)[0]).sum(), qkv, dqkv).error < 1e-8

# %% [markdown]
# What the backward pass makes of one head. A row of `dp` says which tokens *should* have been attended to more: the
# blue ones, where more weight lowers the loss. `ds` is the same less the row's mean weighted by $p$, times $p$: tokens
# without weight get no gradient, and every row sums to zero.

# %%
q, k, v, p = (x[0, 0] for x in cache)
dp = do[0][:, :D] @ v.T
ds = p * (dp - (dp * p).sum(axis=1, keepdims=True))
assert np.allclose(ds.sum(axis=1), 0)
draw.gradients(p, dp, ds)

# %% [markdown]
# The whole layer is three calls: linear, attention, linear. The second linear layer mixes what the heads found, each of
# which wrote its own $D$ channels. The gradient is the same three in reverse, here with minast's functions, and checked
# along random directions through input and all weights.


# %%
# varies: rounding
def layer(x, w_in, b_in, w_out, b_out):
    qkv, one = layers.linear_forward(x, w_in, b_in)
    o, two = layers.attention_forward(qkv, H)
    y, three = layers.linear_forward(o, w_out, b_out)
    return y, (one, two, three)


x, r = rng.standard_normal((2, B, T, C))
weights = [rng.standard_normal(shape) for shape in ((3 * C, C), (3 * C,), (C, C), (C,))]
y, (one, two, three) = layer(x, *weights)
dw = [np.zeros_like(w) for w in weights]
dx = layers.linear_backward(layers.attention_backward(layers.linear_backward(r, three, *dw[2:]), two), one, *dw[:2])
found = gradcheck.directional(lambda: (r * layer(x, *weights)[0]).sum(), [x, *weights], [dx, *dw], rng)
print(found)
assert found.error < 1e-7

# %% [markdown]
# ### Exercise 4.3 ★★ Derive: a bias for each pair of positions
#
# Some models ([Swin](https://arxiv.org/abs/2103.14030), [T5](https://arxiv.org/abs/1910.10683)) add to the scores a
# learned bias that depends on the head and on how far apart the two positions are. Here it is simpler, one number for
# each head and each pair of positions:
# $s = q k^\top / \sqrt D + \text{bias}$, with `bias` (H, T, T), the same for every clip. Write its gradient.
#
# <details><summary>Hint</summary>
#
# Which of the gradients above is that of the scores? And what happens to the gradient of something that several clips
# share?
#
# </details>
#
# [Solution](solutions/attention.py)


# %%
def bias_backward(p, dp):
    """p, dp (B, H, T, T): the weights and the gradient of the weights -> dbias (H, T, T)"""
    return ...  # your code: replace this line


# %%
check.bias_backward(bias_backward)

# %% [markdown]
# ## 4.5 The memory it would take
#
# Our cache holds `p`, $T \times T$ numbers for each head and clip. AST on 10 s of sound has 1214 tokens (notebook 2),
# and the base model 12 heads in each of 12 layers. In float32, beside what will turn out to be enough, `qkv`, the
# output `o` and one number for each row of scores:

# %%
tokens, heads, width, depth = 1214, 12, 768, 12
layer_bytes = heads * tokens**2 * 4
print(f"p, one clip: {layer_bytes / 1e6:.1f} MB for one layer, {depth * layer_bytes / 1e6:.0f} MB for {depth}")
kept = 4 * (3 * tokens * width + tokens * width + heads * tokens)  # qkv, o and one number a row and head
print(f"qkv, o and one number a row: {kept / 1e6:.1f} MB for one layer, {depth * kept / 1e6:.0f} MB for {depth}")
assert round(depth * layer_bytes / 1e6) == 849

draw.memory(depth, heads, width)
assert 4 * width // heads == 256  # where the lines cross, as follows

# %% [markdown]
# The lines cross where $H T^2 = 4 T C$ (leaving the small last part out). Since $C = H D$, that is at $T = 4 D = 256$
# tokens. Beyond that, $p$ takes more than all else that attention keeps. It also has to travel: written, read by the
# softmax, written, read again, while the multiplication units wait. Both are reasons never to have all of $p$ at once.
#
# The rest of this notebook shows how. Two things stand in the way: a softmax needs its whole row, and the backward pass
# needs $p$.
#
# ### Exercise 4.4 ★ Predict: the bytes of a cache
#
# How many bytes does the cache of `layers.attention_forward` hold, in float32? It keeps `qkv` (B, T,
# 3C), `o` (B, T, C) and `lse`, one number for each clip, head and row (what it is for comes below). `width` is $C$. The
# check runs minast and adds up the arrays.
#
# <details><summary>Hint</summary>
#
# Count the numbers first, then the bytes of one.
#
# </details>
#
# [Solution](solutions/attention.py)


# %%
def cache_bytes(clips, tokens, width, heads):
    """-> a whole number"""
    return ...  # your code: replace this line


# %%
check.cache_bytes(cache_bytes)

# %% [markdown]
# ## 4.6 Online softmax
#
# Take one row: scores $s_1, s_2, \ldots$ and values $v_1, v_2, \ldots$ arrive one after the other. We want
#
# $$o = \frac{\sum_j e^{s_j} v_j}{\sum_j e^{s_j}}$$
#
# Two running sums would do, but $e^{s}$ overflows. Subtracting the maximum needs the maximum, which is known at the
# end. So keep the maximum *so far* and correct when it rises. After $n$ keys, hold
#
# $$m_n = \max_{j \le n} s_j, \qquad l_n = \sum_{j \le n} e^{s_j - m_n}, \qquad
# a_n = \sum_{j \le n} e^{s_j - m_n}\,v_j$$
#
# The next key brings $m_{n+1} = \max(m_n, s_{n+1})$. Every old term must change from $e^{s_j - m_n}$ to
# $e^{s_j - m_{n+1}}$. That is one and the same factor for all, $c = e^{m_n - m_{n+1}}$, since
# $e^{s_j - m_n}\,e^{m_n - m_{n+1}} = e^{s_j - m_{n+1}}$. So it can be applied to the sums:
#
# $$l_{n+1} = c\,l_n + e^{s_{n+1} - m_{n+1}}, \qquad a_{n+1} = c\,a_n + e^{s_{n+1} - m_{n+1}}\,v_{n+1}$$
#
# Start with $m_0 = -\infty$, $l_0 = 0$, $a_0 = 0$: then $c = e^{-\infty} = 0$ in the first step. If the definitions
# hold after $n$ keys they hold after $n + 1$, so they hold at the end, and $o = a/l$: in both sums the factor $e^{-m}$
# is the same, and cancels. ([Milakov and Gimelshein 2018](https://arxiv.org/abs/1805.02867).)


# %%
def online_row(s, v):
    """s (T,), v (T, D) -> o (D,), and the history of m, l, c and a / l"""
    m, l, a, history = -np.inf, 0.0, np.zeros(v.shape[1]), []
    for s_j, v_j in zip(s, v, strict=True):
        new = max(m, s_j)
        c, e = np.exp(m - new), np.exp(s_j - new)
        l, a, m = c * l + e, c * a + e * v_j, new
        history.append((m, l, c, a / l))
    return a / l, history


s = 1.5 * rng.standard_normal(60) + np.linspace(-2, 3, 60)
v = rng.standard_normal((60, 2))
o, history = online_row(s, v)
whole = softmax(s) @ v
print(f"online and whole differ by {gap(o, whole):.1e}, relative")
assert gap(o, whole) < 1e-13

# %%
m, l, c, partial = (np.array(x) for x in zip(*history, strict=True))
draw.online(s, m, l, c, partial, whole)
keys = np.arange(1, 61)
assert (l >= 1).all() and (l <= keys).all()

# %% [markdown]
# Read the middle curve: $l$ grows by at most 1 a key and is scaled down where the maximum rises. It always lies between
# 1 (the largest term is $e^0$) and the number of keys seen, so nothing can overflow. At each moment $a/l$ is the right
# answer for the keys seen so far.
#
# Two such states of *different* keys can also be put together, in any order. A GPU does it when several threads share a
# row.
#
# ### Exercise 4.5 ★★★ Design: put two states together
#
# States $(m_1, l_1, a_1)$ and $(m_2, l_2, a_2)$ of two sets of keys become the state of
# both. One of them may still be at the start: $m = -\infty$, $l = 0$, $a = 0$. Scores may be in the thousands.
#
# <details><summary>Hint</summary>
#
# A single key $(s, v)$ is the state $m = s$, $l = 1$, $a = v$: the step above puts it together with another.
# What changes where both have many keys?
#
# </details>
#
# [Solution](solutions/attention.py)


# %%
def merge(m1, l1, a1, m2, l2, a2):
    """m, l numbers, a (D,), of two sets of keys -> m, l, a of all of them"""
    return ...  # your code: replace this line


# %%
check.merge(merge)

# %% [markdown]
# ## 4.7 All rows, tile by tile
#
# Python would take long key by key, and hardware too likes matrices. So take a *tile* of keys at a time, for all rows:
# the new maximum is that of the tile's scores and the old one. Nothing else changes. No array here is larger than T x
# `size` or T x D.


# %%
def online(q, k, v, size):
    """q, k, v (..., T, D) -> o (..., T, D), lse (..., T, 1)"""
    q = q / q.shape[-1] ** 0.5
    m = np.full((*q.shape[:-1], 1), -np.inf, q.dtype)
    l = a = 0
    for start in range(0, k.shape[-2], size):
        K, V = k[..., start : start + size, :], v[..., start : start + size, :]
        s = q @ K.swapaxes(-1, -2)  # (..., T, size)
        new = np.maximum(m, s.max(axis=-1, keepdims=True))
        c, e = np.exp(m - new), np.exp(s - new)
        l = c * l + e.sum(axis=-1, keepdims=True)
        a = c * a + e @ V
        m = new
    return a / l, m + np.log(l)


# %%
q, k, v = rng.standard_normal((3, 2, 100, 16))  # two heads
exact = softmax(q @ k.swapaxes(-1, -2) / 4) @ v
for size in (1, 7, 32, 100):
    print(f"tiles of {size:3} keys: {gap(online(q, k, v, size)[0], exact):.1e} from the whole")
    assert gap(online(q, k, v, size)[0], exact) < 1e-13

# %% [markdown]
# **Why exact.** Nothing was left out and nothing estimated: these are the same terms, added up in another order and
# with another factor in front of numerator and denominator. Computers round, so another order gives another last digit.
# Is one of the two orders worse? Compare both in float32 with the result in float64:

# %%
q32, k32, v32 = (x.astype(np.float32) for x in (q, k, v))
whole32 = softmax(q32 @ k32.swapaxes(-1, -2) / np.float32(4)) @ v32
tiled32 = online(q32, k32, v32, 32)[0]
assert whole32.dtype == tiled32.dtype == np.float32
print(f"float32, whole: {gap(whole32, exact):.1e} from the truth; in tiles: {gap(tiled32, exact):.1e}")
assert gap(tiled32, exact) < 5 * gap(whole32, exact)

# %% [markdown]
# And the memory, measured by Python's own accountant at the size of one layer of AST base:


# %%
def peak(f, *arguments):
    """The most bytes that NumPy held at once during f, results included."""
    tracemalloc.start()
    f(*arguments)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most


# %%
# varies: NumPy's versions differ in what they copy
big = rng.standard_normal((1, tokens, 3 * width), dtype=np.float32)
in_tiles = peak(lambda: online(*unpack(big, heads), 64))
at_once = peak(lambda: attention(big, heads))
print(f"whole: {at_once / 1e6:.0f} MB at most, {at_once / layer_bytes:.1f} times p; in tiles: {in_tiles / 1e6:.0f} MB")
assert at_once > 5 * in_tiles and attention(big, heads)[0].dtype == np.float32

# %% [markdown]
# The whole needs several times the memory of $p$: scores, their exponentials and the weights are there at the same
# time.
#
# ## 4.8 Backward without p: recomputation
#
# The forward pass now never has all of $p$, so it cannot keep it. The backward pass needs $p$ in two places, $dv =
# p^\top do$ and $ds = p\,(dp - \Delta)$. It can make $p$ again from $q$ and $k$, tile by tile, if it knows each row's
# maximum and sum. Even these two numbers are one, the *log-sum-exp* from notebook 3:
#
# $$p_{ij} = \frac{e^{s_{ij} - m_i}}{l_i} = e^{s_{ij} - (m_i + \log l_i)} = e^{s_{ij} - \mathrm{lse}_i},
# \qquad \mathrm{lse}_i = m_i + \log l_i = \log\sum_j e^{s_{ij}}$$
#
# One subtraction, one exponential, no maximum, no division: all that the forward pass had to find out is in `lse`. It
# never overflows: $p \le 1$ means $s - \mathrm{lse} \le 0$.
#
# The sum $\Delta_i = \sum_j dp_{ij}\,p_{ij}$ seems to need the whole row once more. Put in
# $dp_{ij} = \sum_d do_{id} v_{jd}$ and change the order of the two sums:
#
# $$\Delta_i = \sum_j p_{ij} \sum_d do_{id}\,v_{jd} = \sum_d do_{id} \sum_j p_{ij}\,v_{jd} = \sum_d do_{id}\,o_{id}$$
#
# It is the product of `do` and `o`, row by row: $T D$ multiplications and no $p$ at all. That is why `o` stays in the
# cache.

# %%
q, k, v, p = cache
o = p @ v
do_heads = do.reshape(B, T, H, D).transpose(0, 2, 1, 3)
dp = do_heads @ v.swapaxes(-1, -2)
assert np.allclose((dp * p).sum(axis=-1), (do_heads * o).sum(axis=-1))


# %%
def online_back(do, q, k, v, o, lse, size):
    """all (..., T, D), lse (..., T, 1) -> dq, dk, dv"""
    scale = q.shape[-1] ** -0.5
    delta = (do * o).sum(axis=-1, keepdims=True)
    dq, dk, dv = np.zeros_like(q), np.empty_like(k), np.empty_like(v)
    for start in range(0, k.shape[-2], size):
        tile = np.s_[..., start : start + size, :]
        p = np.exp(q @ k[tile].swapaxes(-1, -2) * scale - lse)  # (..., T, size), as it was
        dv[tile] = p.swapaxes(-1, -2) @ do
        ds = p * (do @ v[tile].swapaxes(-1, -2) - delta)
        dk[tile] = ds.swapaxes(-1, -2) @ q * scale
        dq += ds @ k[tile] * scale  # every tile of keys adds its share
    return dq, dk, dv


o, lse = online(q, k, v, 3)
pieces = online_back(do_heads, q, k, v, o, lse, 3)
packed = np.stack(pieces).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)
print(f"gradient in tiles and gradient from a stored p differ by {gap(packed, dqkv):.1e}, relative")
assert gap(packed, dqkv) < 1e-12

# %% [markdown]
# A tile of keys finishes its own `dk` and `dv`, since these sum over queries and all queries are there. `dq` sums over
# keys, so it collects from all tiles.
#
# What does it cost? Count the large products, each $T^2 D$ multiplications a head. Forward: $q k^\top$ and $p v$.
# Backward with a stored $p$: four, for $dv$, $dp$, $dq$ and $dk$. Recomputing makes $q k^\top$ again: five.

# %%
stored, again = 2 + 4, 2 + 5
print(f"forward and backward: {again} products instead of {stored}, {again / stored - 1:.0%} more")
print(f"not kept: {depth * layer_bytes / 1e6:.0f} MB a clip of {depth} layers")

# %% [markdown]
# On hardware where arithmetic is cheap and memory far away, the version with *more* arithmetic is often the faster one.
# Notebook 8 works that out for kernels.
#
# ## 4.9 minast's versions
#
# The reference keeps `(qkv, o, lse, heads)` and recomputes. It holds $p$ of one layer while it works on it, for the
# sake of plain code. Look for `lse` and `delta`:

# %%
show.source(layers.attention_forward, layers.attention_backward)

# %%
y, (kept_qkv, kept_o, lse, _) = layers.attention_forward(qkv, H)
assert np.allclose(lse, np.log(np.exp(q @ k.swapaxes(-1, -2) / np.sqrt(D)).sum(axis=-1, keepdims=True)))
assert np.allclose(lse, online(q, k, v, 2)[1])
print("lse of minast:", lse.shape, "; the same as ours in tiles of 2")

# %% [markdown]
# The CPU version holds one tile per thread (each core of the processor runs one), and writes it over and over. Its tiles
# are some queries and *all* keys in the forward pass, so a row is whole
# and needs no online softmax; only the GPU kernels do, whose tiles are much smaller. You need not follow every line;
# four ideas in it are worth a look, and each is explained below.

# %%
show.source(fast_attention.attention_forward, fast_attention.attention_backward, fast_attention.tiles)
show.say(
    f"One tile: {fast_attention.TILE * 4 / 2**10:.0f} KiB of scores; all of p: {layer_bytes / 2**10:.0f} KiB a layer, "
    f"{layer_bytes / 4 / fast_attention.TILE:.0f} times as much."
)
assert 2**20 < fast_attention.TILE * 4 < 2**22

# %% [markdown]
# Such a tile is too large for the cache of a single core (L2, often 1 MiB) and small enough for the one that cores
# share (L3, some tens of MiB), where all of $p$ would not stay. Smaller tiles would need more calls of NumPy, each of
# which has its price in Python. The tiles of GPU kernels are much smaller still and stay on the multiprocessor
# ([notebook 8](08_fast_attention.ipynb)).
#
# **A column of ones.** The sum of each row of weights is their product with a column of ones, which takes a quarter of
# the time of NumPy's sum. In the backward pass `[q, -lse] · [k, 1]` is $q\cdot k - \mathrm{lse}$: the subtraction
# happens inside the product.
#
# **Powers of two.** $e^x = 2^{x \log_2 e}$, and where the processor has AVX-512, powers of 2 take NumPy half the time of
# powers of $e$. The factor $\log_2 e$ costs nothing, since the scores are scaled anyway. On other processors `exp2` is
# the slower one, so NumPy is asked which of the two it has fast code for. `power`, `logarithm` and `unit` are its answer.

# %%
q, k, v = rng.standard_normal((3, 100, 16))
unit = np.log2(np.e)
e = np.exp2(q * unit / 4 @ k.T)
total = e @ np.ones((100, 1))
lse = np.log2(total) / unit
assert np.allclose(e @ v / total, softmax(q @ k.T / 4) @ v)
assert np.allclose(np.exp(np.hstack([q / 4, -lse]) @ np.hstack([k, np.ones((100, 1))]).T), softmax(q @ k.T / 4))

# %% [markdown]
# **No maximum where none is needed.** A product cannot exceed the product of the lengths, $|q\cdot k| \le |q||k|$. If
# that bound is below 60 for all rows, no exponential can exceed $e^{60}$, and sums of them are far below what float32
# holds.
#
# **Threads share out the heads,** since heads do not touch each other; rows too, where heads are few.

# %%
# varies: the last error in its digits, by processor
bound = float(np.exp(fast_attention.BOUND, dtype=np.float64))
largest = np.finfo(np.float32).max
print(f"exp({fast_attention.BOUND:.0f}) times {tokens} keys: {bound * tokens:.1e}; float32 ends at {largest:.1e}")
assert bound * tokens < largest / 1e6

few = big[:, :, : 3 * 2 * 64].copy()  # two heads of 64: enough for a comparison
do = rng.standard_normal((1, tokens, 2 * 64), dtype=np.float32)
ours, our_cache = attention(few.astype(np.float64), 2)
fast, fast_cache = fast_attention.attention_forward(few, 2)
errors = [gap(fast, ours), gap(fast_attention.attention_backward(do, fast_cache), attention_back(do, our_cache))]
print(f"minast's in float32, ours in float64: forward {errors[0]:.1e} apart, backward {errors[1]:.1e}")
assert max(errors) < 1e-5

# %% [markdown]
# ## What to remember
#
# - $o = \operatorname{softmax}(q k^\top/\sqrt D)\,v$ for each head; `qkv` is packed (3, H, D).
# - Backward: $dv = p^\top do$, $dp = do\,v^\top$, $ds = p(dp - \Delta)$, $dq = ds\,k/\sqrt D$,
#   $dk = ds^\top q/\sqrt D$.
# - $p$ has $H T^2$ numbers a clip and layer: from $T = 4D$ tokens on, more than all else that attention keeps.
# - Online softmax: keep $m$, $l$, $a$; when the maximum rises, scale $l$ and $a$ by $e^{m - m'}$. Exact, but for
#   rounding.
# - Backward: keep `o` and `lse`, make $p = e^{s - \mathrm{lse}}$ again, and $\Delta$ is the row sums of `do * o`.
#
# ## Where this is in minast
#
# - [`minast/layers.py`](../minast/layers.py): `attention_forward`, `attention_backward`; `class_attention_forward` for the last
#   block, where only the first one or two tokens ask
# - [`minast/fast/attention.py`](../minast/fast/attention.py): tiles on the CPU
# - [`kernels/attention.cu`](../kernels/attention.cu),
#   [`kernels/attention_backward.cu`](../kernels/attention_backward.cu): online softmax and recomputation on a GPU, a
#   ladder from plain to fast
# - [`tests/model/test_layers.py`](../tests/model/test_layers.py), [`tests/model/test_fast.py`](../tests/model/test_fast.py),
#   [`tests/gpu/test_kernels_attention.py`](../tests/gpu/test_kernels_attention.py): the tests that check them
#
# ## Next
#
# [5. The encoder, trained](05_encoder_trained.ipynb): all layers together, and a loop that makes them learn. The
# kernels come in [notebook 8](08_fast_attention.ipynb), what heads look at in [notebook 9](09_what_does_it_hear.ipynb).
