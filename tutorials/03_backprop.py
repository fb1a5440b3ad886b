# %% [markdown]
# # 3. Backprop by hand
#
# ![You are here](pictures/here_03.svg)
#
# After this notebook you can derive the gradient of a layer on paper, write it in ten lines of NumPy, and check it. You
# will have done it for every kind of layer in AST but attention, and you will know what such a check cannot see.
#
# **Needs:** NumPy, matrix products, the chain rule for functions of one variable. Notebooks 1 and 2 are not needed.

# %%
import numpy as np
from scipy.special import erf

import show
from exercises import backprop as check
from figures import backprop as draw
from minast import gradcheck, layers

show.style()
rng = np.random.default_rng(3)

# %% [markdown]
# ## 3.1 One formula
#
# A network turns its input and its *weights*, the numbers that training changes, into one number, the *loss* $L$: how
# wrong its answer is. To train is to move every weight a little in the direction in which the loss falls, so we want
# the derivative of $L$ by every weight. For any array $x$ on the way, write `dx` for the array of derivatives $\partial
# L / \partial x_j$: the same shape as $x$. `dx` is called the *gradient* of $x$. A network is a chain of *layers*,
# functions of one array each.
#
# A layer computes $y$ from $x$. If we know `dy`, the chain rule gives `dx`:
#
# $$dx_j = \sum_i dy_i\,\frac{\partial y_i}{\partial x_j}$$
#
# Each $x_j$ acts on the loss through every $y_i$, and these effects add up. That is all of backpropagation: start with
# the gradient of the loss by itself, which is 1, and walk through the layers in reverse order.
#
# The matrix of all $\partial y_i / \partial x_j$ is the *Jacobian*. It is large (a layer of $n$ numbers has $n^2$ of
# them), so a backward pass never builds it. It computes the sum directly, and the work of this notebook is to find out
# how, layer by layer.

# %% [markdown]
# ## 3.2 How to know that a gradient is right
#
# Move one number by a small $h$, run the network, and see how the loss moves. To first order that is the derivative.
# Moving it both ways is more exact, as we will see:
#
# $$\frac{\partial L}{\partial x_j} \approx \frac{L(x_j + h) - L(x_j - h)}{2h}$$


# %%
def numeric_gradient(f, x, h=1e-5):
    """df/dx, one entry at a time.   f() -> number reads x, which is moved in place and put back"""
    g = np.empty_like(x)
    for i in np.ndindex(x.shape):
        old = x[i]
        x[i] = old + h
        above = f()
        x[i] = old - h
        below = f()
        x[i] = old
        g[i] = (above - below) / (2 * h)
    return g


def gap(a, b):
    """The largest difference, relative to the largest entry of b."""
    return np.abs(a - b).max() / np.abs(b).max()


def compare(f, **pairs):
    """Print how far each gradient is from the numeric one; fail if one is far.   name=(array, its gradient)"""
    for name, (x, dx) in pairs.items():
        error = gap(dx, numeric_gradient(f, x))
        print(f"d{name} {dx.shape}: relative error {error:.1e}")
        assert dx.shape == x.shape and error < 1e-8


# %% [markdown]
# A layer has many outputs, and a check needs one number. So we make up a loss: $L = \sum_i r_i y_i$ with fixed random
# numbers $r_i$. Its gradient by $y$ is $r$, so that `dy = r` stands for whatever the layers above would send down. Why
# random and not all ones? You will see that all ones would hide mistakes.
#
# Throughout, we work in float64. Why, you will see too.

# %% [markdown]
# ## 3.3 Linear
#
# AST's input is a list of vectors, its *tokens*: each row of $x$ is one, with $C$ numbers, its *channels*. Every row is
# multiplied by the same matrix, and a *bias*, one number for each output, is added. minast stores the matrix as
# (outputs, inputs), as most models do: $y = x w^\top + b$. Written with indices ($n$ row, $c$ input, $o$ output):
#
# $$y_{no} = \sum_c x_{nc}\,w_{oc} + b_o$$
#
# **By x.** $x_{mc}$ appears only in row $m$ of $y$, there with the factor $w_{oc}$. So
# $dx_{mc} = \sum_o dy_{mo}\,w_{oc}$: in matrices, `dx = dy @ w`.
#
# **By w.** $w_{oc}$ appears in output $o$ of *every* row $n$, with the factor $x_{nc}$. So
# $dw_{oc} = \sum_n dy_{no}\,x_{nc}$: in matrices, `dw = dy.T @ x`.
#
# **By b.** $b_o$ appears in output $o$ of every row, with the factor 1: $db_o = \sum_n dy_{no}$.
#
# Shapes are a good memory: `dx` must be (N, C), and from `dy` (N, O) and `w` (O, C) only one product gives that.


# %%
def linear(x, w, b):
    """x (N, C), w (O, C), b (O,) -> y (N, O)"""
    return x @ w.T + b


def linear_back(dy, x, w):
    """dy (N, O) -> dx (N, C), dw (O, C), db (O,)"""
    return dy @ w, dy.T @ x, dy.sum(axis=0)


x, w, b = rng.standard_normal((4, 6)), rng.standard_normal((3, 6)), rng.standard_normal(3)
dy = rng.standard_normal((4, 3))
dx, dw, db = linear_back(dy, x, w)
compare(lambda: (dy * linear(x, w, b)).sum(), x=(x, dx), w=(w, dw), b=(b, db))

# %% [markdown]
# Every token adds its share to `dw`: the outer product of its `dy` and its `x`. Here are the four shares and their sum.
# This is why a *batch*, several sound clips that go through the network together, needs one gradient array only, and
# why the backward pass must have kept $x$.

# %%
shares = np.einsum("no,nc->noc", dy, x)  # (4 tokens, 3 outputs, 6 inputs)
assert np.allclose(shares.sum(axis=0), dw)
each = {f"token {n}": share for n, share in enumerate(shares)}
show.maps({**each, "sum = dw": dw}, "signed", "gradient", "input c", "output o", limit=np.abs(dw).max(), height=2)

# %% [markdown]
# minast's version. It takes any number of leading axes, and it does one thing that ours does not: weight gradients are
# *added to* what is there (`+=`). All gradients live in one array that is cleared once a step, so several batches, or
# several uses of one weight, add up by themselves. The second result of the forward function, its *cache*, is what the
# backward function needs to know.

# %%
show.source(layers.linear_forward, layers.linear_backward)


# %%
def of_minast(name, dy, x, *weights):
    """minast's forward and backward -> [y, dx, dw, ...]"""
    y, cache = getattr(layers, f"{name}_forward")(x, *weights)
    gradients = [np.zeros_like(w) for w in weights]
    dx = getattr(layers, f"{name}_backward")(dy, cache, *gradients)
    return [y, dx, *gradients]


def same(name, ours, theirs):
    """Print the largest gap between our arrays and minast's; fail if there is one."""
    error = max(gap(a, b) for a, b in zip(ours, theirs, strict=True))
    print(f"{name}: ours and minast's differ by {error:.1e}, relative")
    assert error < 1e-12


same("linear", [linear(x, w, b), dx, dw, db], of_minast("linear", dy, x, w, b))

# %% [markdown]
# The bias shows a rule worth keeping: **what is broadcast forward is summed backward.** $b$ was used once per row, so
# its gradient is a sum over rows.
#
# ### Exercise 3.1 ★ Predict, then write
#
# A model gets a learned *gain* for each place in time: `y = x * gain`, with `x` (B, T, C) and `gain` (T, 1), the same for
# all clips and all channels. Predict first: over which axes is `dgain` a sum, and which shape has it? Then write it.
#
# <details><summary>Hint</summary>
#
# $y_{btc} = x_{btc}\,g_t$. For one $g_t$ the one formula sums over every $y$ in which it appears; the derivative of each
# by $g_t$ is not 1. `keepdims=True` keeps an axis of length 1.
#
# </details>
#
# [Solution](solutions/backprop.py)


# %%
def gain_backward(dy, x):
    """dy (B, T, C), x (B, T, C) -> dgain (T, 1)"""
    return ...  # your code: replace this line


# %%
check.gain_backward(gain_backward)

# %% [markdown]
# ## 3.4 Softmax
#
# Softmax turns any $C$ numbers into positive numbers that sum to 1:
#
# $$p_i = \frac{e^{x_i}}{s}, \qquad s = \sum_k e^{x_k}$$
#
# Adding a constant to all $x$ multiplies numerator and denominator by the same factor and changes nothing. We use that
# freedom to subtract the largest $x$: then no exponential exceeds 1, and nothing overflows.
#
# **Derivative.** For $i \ne j$, only $s$ depends on $x_j$, and $\partial s/\partial x_j = e^{x_j}$:
#
# $$\frac{\partial p_i}{\partial x_j} = -\frac{e^{x_i}}{s^2}\,e^{x_j} = -p_i\,p_j$$
#
# For $i = j$ the numerator moves too, which adds $e^{x_i}/s = p_i$. Both cases in one, with $\delta_{ij} = 1$ if
# $i = j$ and 0 otherwise:
#
# $$\frac{\partial p_i}{\partial x_j} = p_i\,(\delta_{ij} - p_j)$$
#
# **Backward.** Put it into the one formula. The first term leaves one entry, the second is the same sum for every $j$:
#
# $$dx_j = \sum_i dp_i\,p_i\,(\delta_{ij} - p_j) = p_j\,\Big(dp_j - \sum_i dp_i\,p_i\Big)$$
#
# So the $C \times C$ Jacobian costs one sum per row. In words: only the difference of $dp_j$ to the average counts, the
# average being weighted by $p$ itself. If raising $p_j$ raises the loss more than the average does, $dx_j$ is positive;
# an entry with $p_j$ near 0 gets next to nothing.


# %%
def softmax(x):
    """x (..., C) -> p (..., C), rows sum to 1"""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_back(dp, p):
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


x, dp = 2 * rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
p = softmax(x)
compare(lambda: (dp * softmax(x)).sum(), x=(x, softmax_back(dp, p)))
same("softmax", [p, softmax_back(dp, p)], of_minast("softmax", dp, x))

# %%
jacobian = np.diag(p[0]) - np.outer(p[0], p[0])  # of the first row: 6 x 6
assert np.allclose(dp[0] @ jacobian, softmax_back(dp, p)[0])
assert np.allclose(jacobian.sum(axis=0), 0) and np.allclose(jacobian.sum(axis=1), 0)
draw.softmax_and_jacobian(p[0], softmax_back(dp, p)[0], jacobian)

# %% [markdown]
# Rows and columns of the Jacobian sum to zero. The columns, because $\sum p_i$ is 1 whatever $x$ is; the rows, because
# a constant added to all $x$ changes nothing. Two consequences: the entries of `dx` sum to zero, and `dp = 1, 1, ...`
# gives `dx = 0`. The derivative of a constant is no test of anything: hence the random $r$.

# %%
show.source(layers.softmax_forward, layers.softmax_backward)

# %% [markdown]
# ## 3.5 Cross-entropy
#
# A classifier has one output for each of $K$ *classes*, the kinds of sound that it knows; a softmax makes probabilities
# of them. One class is right: its *target* $y$ is 1, that of the others 0. The loss of a clip is minus the natural
# logarithm of the probability that the model gives to the right class, in *nats*. For soft targets (a mix of two clips,
# such as 0.7 of one class and 0.3 of another) the same formula holds:
#
# $$L = -\sum_k y_k \log p_k$$
#
# Do not compute $p$ first: with logits (the numbers that go into the softmax) 0 and 1000, $p$ is exactly 0 in floating
# point and its logarithm is $-\infty$. Put the logarithm through by hand instead:
#
# $$\log p_k = x_k - \ell, \qquad \ell = \log\sum_j e^{x_j} = m + \log \sum_j e^{x_j - m}, \qquad m = \max_j x_j$$
#
# $\ell$ is called *log-sum-exp*; attention will meet it again. Its derivative is the softmax:
# $\partial \ell/\partial x_j = e^{x_j} / \sum_k e^{x_k} = p_j$.
#
# **Derivative of the loss**, with $Y = \sum_k y_k$, which is 1 for ordinary targets:
#
# $$L = Y\,\ell - \sum_k y_k x_k \quad\Rightarrow\quad \frac{\partial L}{\partial x_j} = Y\,p_j - y_j$$
#
# What the model says, minus what is true. Over a batch of $B$ clips the loss is the mean, which divides by $B$.


# %%
def cross_entropy(x, y):
    """x logits (B, K), y (B, K) -> mean loss in nats"""
    x = x - x.max(axis=1, keepdims=True)
    logp = x - np.log(np.exp(x).sum(axis=1, keepdims=True))
    return -(y * logp).sum() / len(x)


def cross_entropy_back(x, y):
    return (softmax(x) * y.sum(axis=1, keepdims=True) - y) / len(x)


x, y = 2 * rng.standard_normal((4, 6)), rng.random((4, 6))  # soft targets: one-hot ones would leave much untested
compare(lambda: cross_entropy(x, y), x=(x, cross_entropy_back(x, y)))
loss, cache = layers.ce_forward(x, y)
same("cross-entropy", [cross_entropy(x, y), cross_entropy_back(x, y)], [loss, layers.ce_backward(cache)])

# %%
logits, right = np.array([[1.0, 2.5, 0.2, -1.0, 1.8]]), np.eye(5)[[4]]
steps = np.linspace(-6, 8, 100)
moved = [logits + (t - logits[0, 4]) * right for t in steps]
losses = [cross_entropy(z, right) for z in moved]
slopes = [cross_entropy_back(z, right)[0, 4] for z in moved]
draw.cross_entropy(softmax(logits)[0], right[0], cross_entropy_back(logits, right)[0], steps, losses, slopes)

# %% [markdown]
# Below: while the model is wrong the slope is close to -1 and steady, however wrong it is; when it is right the
# slope fades away. A step against the gradient (the green bars) takes from the favoured class and gives to the right
# one.

# %%
show.source(layers.ce_forward, layers.ce_backward)
extreme = np.array([[0.0, 1000.0]])
loss, cache = layers.ce_forward(extreme, np.array([[1.0, 0.0]]))
print(f"logits 0 and 1000, class 0 is right: loss {loss:.0f} nats, gradient {layers.ce_backward(cache)[0]}")
assert loss == 1000

# %% [markdown]
# ### Exercise 3.2 ★★ Half of the cross-entropy
#
# Derive the backward pass of log-softmax alone, $y_k = x_k - \ell$. You are given `dy` and the output `y`, no more; it is
# enough.
#
# <details><summary>Hint</summary>
#
# Start from the one formula, with $\partial y_k / \partial x_j = \delta_{kj} - p_j$. The first term leaves one entry, the
# second a sum that is the same for all $j$. And the probabilities are hidden in `y`.
#
# </details>
#
# [Solution](solutions/backprop.py)


# %%
def log_softmax_backward(dy, y):
    """dy (N, C), y = log softmax(x) (N, C) -> dx (N, C)"""
    return ...  # your code: replace this line


# %%
check.log_softmax_backward(log_softmax_backward)

# %% [markdown]
# ## 3.6 Binary cross-entropy
#
# A recording may hold rain *and* an engine. Then each class is a yes-or-no question of its own, answered by the sigmoid
# $\sigma(x) = 1/(1 + e^{-x})$, and the loss of one answer is
#
# $$L = -\big(y \log\sigma(x) + (1 - y)\log(1 - \sigma(x))\big)$$
#
# **A form that does not break.** Let $\zeta(x) = \log(1 + e^x)$ (*softplus*). From the definition,
# $\log\sigma(x) = -\zeta(-x)$, and $1 - \sigma(x) = \sigma(-x)$, so $\log(1 - \sigma(x)) = -\zeta(x)$. Also
# $\zeta(-x) = \log\frac{e^x + 1}{e^x} = \zeta(x) - x$. Together:
#
# $$L = y\,(\zeta(x) - x) + (1 - y)\,\zeta(x) = \zeta(x) - x y$$
#
# For large $x$ even $e^x$ overflows. Take out the larger part: if $x > 0$, $\zeta(x) = x + \zeta(-x)$. Both signs in
# one:
#
# $$L = \max(x, 0) - x y + \log(1 + e^{-|x|})$$
#
# **Derivative.** $\zeta'(x) = e^x/(1 + e^x) = \sigma(x)$. So $\partial L/\partial x = \sigma(x) - y$: again what the
# model says, minus what is true. minast takes the mean over clips and classes, so both are divided by $BK$.


# %%
def bce(x, y):
    """x logits (B, K), y (B, K) in [0, 1] -> mean loss in nats"""
    return (np.maximum(x, 0) - x * y + np.log1p(np.exp(-np.abs(x)))).mean()


def bce_back(x, y):
    e = np.exp(-np.abs(x))  # in (0, 1]: cannot overflow
    sigmoid = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return (sigmoid - y) / x.size


x, y = 2 * rng.standard_normal((4, 6)), rng.random((4, 6))
compare(lambda: bce(x, y), x=(x, bce_back(x, y)))
loss, cache = layers.bce_forward(x, y)
same("BCE", [bce(x, y), bce_back(x, y)], [loss, layers.bce_backward(cache)])

# %%
z = np.linspace(-5, 35, 1000, dtype=np.float32)
with np.errstate(all="ignore"):
    s = 1 / (1 + np.exp(-z))
    naive = -np.log(1 - s)  # target 0
stable = np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))
t = np.linspace(-6, 6, 200)
losses = {f"y = {target}": [bce(np.array([[v]]), target) for v in t] for target in (0, 0.3, 1)}
draw.bce(t, losses, z, naive, stable)
print(f"in float32 the naive form is infinite from x = {z[np.isinf(naive)][0]:.1f} on")
assert np.isfinite(stable).all() and np.isinf(naive).any()

# %% [markdown]
# On the right, $1 - \sigma(x)$ becomes exactly 0 in float32, and the naive loss ends there. The stable form goes on. On
# the left, a soft target of 0.3 has its least loss where $\sigma(x) = 0.3$: there the derivative $\sigma(x) - y$ is 0.

# %%
show.source(layers.bce_forward, layers.bce_backward)

# %% [markdown]
# ### Exercise 3.3 ★★ Design a loss
#
# Positive answers are rare, so one may want each to count $w$ times:
# $L = -\big(w\,y\log\sigma(x) + (1 - y)\log(1 - \sigma(x))\big)$, mean over all entries. Derive the gradient and write
# it, for logits of any size.
#
# <details><summary>Hint</summary>
#
# $\log\sigma(x)$ has the derivative $1 - \sigma(x)$, and $\log(1 - \sigma(x))$ has $-\sigma(x)$. For a sigmoid that does not
# overflow at $x = -1000$, look at `bce_back`.
#
# </details>
#
# [Solution](solutions/backprop.py)


# %%
def weighted_bce_backward(x, y, weight):
    """x logits (B, K), y (B, K), weight a number -> dx (B, K), of the mean loss"""
    return ...  # your code: replace this line


# %%
check.weighted_bce_backward(weighted_bce_backward)

# %% [markdown]
# ## 3.7 Layer norm
#
# Layer norm ([Ba, Kiros, Hinton 2016](https://arxiv.org/abs/1607.06450)) brings each token to mean 0 and deviation 1 over its $C$ channels, then scaled and shifted by learned weights:
#
# $$\mu = \frac1C\sum_i x_i, \quad v = \frac1C\sum_i (x_i - \mu)^2, \quad r = \frac{1}{\sqrt{v + \epsilon}}, \quad
# n_i = (x_i - \mu)\,r, \quad y_i = n_i w_i + b_i$$
#
# The last step is easy: $dw_i$ sums $dy_i n_i$ over tokens, $db_i$ sums $dy_i$, and $dn_i = dy_i w_i$. The rest is one
# token, in four steps, with $\langle\cdot\rangle$ for the mean over channels.
#
# **1. Mean.** $\partial\mu/\partial x_j = 1/C$.
#
# **2. Variance.** $x_j$ moves its own term and, through $\mu$, all of them:
# $\partial v/\partial x_j = \frac2C \sum_i (x_i - \mu)(\delta_{ij} - \frac1C)$. The second part vanishes since the
# $x_i - \mu$ sum to zero. Left is $\frac2C (x_j - \mu)$.
#
# **3. Inverse deviation.** $r = (v + \epsilon)^{-1/2}$, so $\partial r/\partial v = -\frac12 r^3$ and
#
# $$\frac{\partial r}{\partial x_j} = -\frac12 r^3\cdot\frac2C (x_j - \mu) = -\frac{r^2}{C}\,n_j$$
#
# **4. The product** $n_i = (x_i - \mu)\,r$, with $(x_i - \mu)\,r = n_i$ put back in:
#
# $$\frac{\partial n_i}{\partial x_j}
# = r\,\Big(\delta_{ij} - \frac1C\Big) + (x_i - \mu)\,\frac{\partial r}{\partial x_j}
# = r\,\Big(\delta_{ij} - \frac1C - \frac1C n_i n_j\Big)$$
#
# **Backward.** Multiply by $dn_i$ and sum over $i$:
#
# $$dx_j = r\,\big(dn_j - \langle dn\rangle - n_j\,\langle dn\; n\rangle\big)$$


# %%
def layernorm(x, w, b, eps=1e-6):
    """x (N, C), w (C,), b (C,) -> y (N, C)"""
    n, _ = normalised(x, eps)
    return n * w + b


def normalised(x, eps=1e-6):
    """-> n (N, C), r (N, 1)"""
    r = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + eps)
    return (x - x.mean(axis=-1, keepdims=True)) * r, r


def layernorm_back(dy, x, w, eps=1e-6):
    """dy (N, C) -> dx (N, C), dw (C,), db (C,)"""
    n, r = normalised(x, eps)
    dn = dy * w
    dx = r * (dn - dn.mean(axis=-1, keepdims=True) - n * (dn * n).mean(axis=-1, keepdims=True))
    return dx, (dy * n).sum(axis=0), dy.sum(axis=0)


# %%
x, w, b = 3 + 2 * rng.standard_normal((4, 6)), rng.standard_normal(6), rng.standard_normal(6)
dy = rng.standard_normal((4, 6))
dx, dw, db = layernorm_back(dy, x, w)
compare(lambda: (dy * layernorm(x, w, b)).sum(), x=(x, dx), w=(w, dw), b=(b, db))
same("layer norm", [layernorm(x, w, b), dx, dw, db], of_minast("layernorm", dy, x, w, b))

# %% [markdown]
# The two subtracted terms have a meaning. Layer norm does not see a constant added to $x$, nor (but for $\epsilon$) a
# factor on $x - \mu$. Directions that change nothing get no gradient: `dx` has no part along $(1, 1, \ldots)$ and none
# along $n$. With three channels one can draw it, on the plane of vectors with mean 0. All $n$ lie on a circle: the mean
# of their squares is 1, so $|n|^2 = C = 3$.

# %%
tokens, dn = rng.standard_normal((12, 3)), rng.standard_normal((12, 3))
n, _ = normalised(tokens)
pull = layernorm_back(dn, tokens, np.ones(3))[0]
along = [np.abs(pull.sum(axis=1)).max(), np.abs((pull * n).sum(axis=1)).max()]
print(f"largest dx · (1, 1, 1): {along[0]:.1e}; largest dx · n: {along[1]:.1e}")
assert along[0] < 1e-12 and along[1] < 1e-3

plane = np.array([[1, -1, 0], [1, 1, -2]]) / np.sqrt([[2], [6]])  # two axes at right angles to (1, 1, 1)
at, to, arrow = tokens @ plane.T, n @ plane.T, -pull @ plane.T
draw.norm_plane(at, to, arrow)

# %% [markdown]
# Every token is carried along its ray to the circle, and every arrow stands at right angles to its ray: it can turn the
# token, not stretch it. The arrows are long near the centre, since $r$ is large there: a small move turns a lot.

# %%
show.source(layers.layernorm_forward, layers.layernorm_backward)

# %% [markdown]
# ### Exercise 3.4 ★★ A norm that you have not seen
#
# Many newer models leave the mean in: $y_i = x_i\,r\,w_i$ with $r = 1/\sqrt{\langle x^2\rangle + \epsilon}$ (*RMS norm*,
# [Zhang and Sennrich 2019](https://arxiv.org/abs/1910.07467)). Predict: which of the two subtracted terms of layer norm
# stays? Then go through the four steps again and write its `dx`.
#
# <details><summary>Hint</summary>
#
# Step 1 falls away. $\partial\langle x^2\rangle/\partial x_j = 2x_j/C$, and from there on the steps are those of layer norm
# with $n_i = x_i\,r$.
#
# </details>
#
# [Solution](solutions/backprop.py)


# %%
def rmsnorm_backward(dy, x, w, eps):
    """dy (N, C), x (N, C), w (C,) -> dx (N, C)"""
    return ...  # your code: replace this line


# %%
check.rmsnorm_backward(rmsnorm_backward)

# %% [markdown]
# ## 3.8 GELU
#
# AST is a stack of equal *blocks*, and in each there are two linear layers, one after the other. Two linear layers in a
# row would be no more than one, so between them each number goes through a curve. ReLU, $\max(x, 0)$, is the simplest.
# AST has the smoother GELU ([Hendrycks and Gimpel 2016](https://arxiv.org/abs/1606.08415)): $x$ times the chance $\Phi(x)$ that a standard normal random number is below $x$. SciPy has
# it as the *error function* erf:
#
# $$y = x\,\Phi(x), \qquad \Phi(x) = \frac12\Big(1 + \operatorname{erf}\frac{x}{\sqrt2}\Big)$$
#
# **Derivative.** $\Phi(x)$ is the area under the normal density $\varphi(x) = e^{-x^2/2}/\sqrt{2\pi}$ up to $x$, so $\Phi' =
# \varphi$. With the product rule:
#
# $$\frac{dy}{dx} = \Phi(x) + x\,\varphi(x)$$
#
# Each entry of $y$ depends on one entry of $x$ only, so the Jacobian is diagonal and `dx = dy * slope`.


# %%
def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_back(dy, x):
    return dy * ((1 + erf(x / np.sqrt(2))) / 2 + x * np.exp(-x * x / 2) / np.sqrt(2 * np.pi))


x, dy = 2 * rng.standard_normal((4, 6)), rng.standard_normal((4, 6))
compare(lambda: (dy * gelu(x)).sum(), x=(x, gelu_back(dy, x)))
same("GELU", [gelu(x), gelu_back(dy, x)], of_minast("gelu", dy, x))

# %% [markdown]
# Some of the image models that AST descends from ([ViT](https://arxiv.org/abs/2010.11929), the vision transformer) used an approximation by tanh, and
# weights trained with it exist, so minast has both: $y = \frac12 x\,(1 + t)$ with $t = \tanh u$ and $u =
# \sqrt{2/\pi}\,(x + 0.044715\,x^3)$. By the product and chain rules, with $\tanh' = 1 - \tanh^2$:
#
# $$\frac{dy}{dx} = \frac12(1 + t) + \frac12 x\,(1 - t^2)\,\sqrt{2/\pi}\,\big(1 + 3\cdot 0.044715\,x^2\big)$$

# %%
t = np.linspace(-4, 4, 2001)
near, cache = layers.gelu_forward(t, "tanh")
slope = layers.gelu_backward(np.ones_like(t), cache)
u = np.sqrt(2 / np.pi) * (t + 0.044715 * t**3)
by_hand = (1 + np.tanh(u)) / 2 + t / 2 * (1 - np.tanh(u) ** 2) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * t**2)
assert gap(slope, by_hand) < 1e-12
curves = {"GELU": gelu(t), "its slope": gelu_back(1, t), "ReLU": np.maximum(t, 0)}
draw.gelu(t, curves, {"value": near - gelu(t), "slope": slope - gelu_back(1, t)})
lowest = t[gelu(t).argmin()]
print(f"the two forms differ by at most {np.abs(near - gelu(t)).max():.1e}")
curve = gelu_back(1, t)
print(f"GELU is lowest at x = {lowest:.2f}; its slope lies between {curve.min():.3f} and {curve.max():.3f}")

# %% [markdown]
# The slope falls below 0 on the left and exceeds 1 on the right: GELU is not an increasing function, and it has no
# kink.

# %%
show.source(layers.gelu_forward, layers.gelu_backward)

# %% [markdown]
# ## 3.9 Put together: the same lines, reversed
#
# A small network with all of it: layer norm, linear, GELU, linear, cross-entropy. The backward pass is the forward pass
# read from below, one line for one line.


# %%
def network(x, y, weights):
    w0, b0, w1, b1, w2, b2 = weights
    n = layernorm(x, w0, b0)
    a = linear(n, w1, b1)
    h = gelu(a)
    z = linear(h, w2, b2)
    return cross_entropy(z, y), (x, n, a, h, z)


def network_back(y, weights, cache):
    w0, _, w1, _, w2, _ = weights
    x, n, a, h, z = cache
    dz = cross_entropy_back(z, y)
    dh, dw2, db2 = linear_back(dz, h, w2)
    da = gelu_back(dh, a)
    dn, dw1, db1 = linear_back(da, n, w1)
    dx, dw0, db0 = layernorm_back(dn, x, w0)
    return dx, [dw0, db0, dw1, db1, dw2, db2]


# %%
x, y = rng.standard_normal((6, 5)), rng.random((6, 4))
weights = [rng.standard_normal(shape) for shape in ((5,), (5,), (8, 5), (8,), (4, 8), (4,))]
loss, cache = network(x, y, weights)
dx, gradients = network_back(y, weights, cache)
names = ["w0", "b0", "w1", "b1", "w2", "b2"]
pairs = {name: pair for name, *pair in zip(names, weights, gradients, strict=True)}
compare(lambda: network(x, y, weights)[0], x=(x, dx), **pairs)

# %% [markdown]
# `minast/encoder.py` does the same with one transformer block, and `minast/model.py` with the whole of AST: same style,
# more lines.
#
# ## 3.10 What a gradient check can show, and what it cannot
#
# ### Step size and precision
#
# Expand the loss along the moved number, $L(x \pm h) = L \pm h L' + \frac{h^2}{2} L'' \pm \frac{h^3}{6} L''' + \ldots$
# In the difference of the two, the even terms cancel:
#
# $$\frac{L(x + h) - L(x - h)}{2h} = L' + \frac{h^2}{6} L''' + \ldots$$
#
# So the error falls with $h^2$. But each loss is rounded: it is off by about $u |L|$, with $u$ about $10^{-16}$ in
# float64 and $6 \cdot 10^{-8}$ in float32. The division by $2h$ blows that up to $u |L| / h$, which *grows* as $h$
# falls. The sum of the two errors has the shape of a U.
#
# ### Exercise 3.5 ★★ Design a better quotient
#
# Call the quotient above $D(h)$. Its error falls with $h^2$. Two values of it, with different steps, can be combined so
# that the $h^2$ terms cancel and the rest is still $L'$: the error then falls with $h^4$. Predict by what factor it falls
# when $h$ is halved; then write it.
#
# <details><summary>Hint</summary>
#
# $D(2h)$ has 4 times the $h^2$ term of $D(h)$; $D(h/2)$ has a quarter of it. Either pair will do. The two weights must
# cancel that term, and sum to 1.
#
# </details>
#
# [Solution](solutions/backprop.py)


# %%
def fourth_order(f, x, h):
    """f a function of one number -> f'(x), off by about h^4"""
    return ...  # your code: replace this line


# %%
check.fourth_order(fourth_order)

# %% [markdown]
# minast's checker does just that, with $D(h)$ and $D(2h)$, along a random direction of length 1 in the space of the input and all weights at
# once: it moves all of them together, by $h u$. The loss then changes at the rate $\sum_k g_k u_k$, by the chain rule,
# with $g$ the gradient; that is what the code calls `analytic`. Here is the U, measured on our network: the relative
# error of that derivative along a direction, over the step.

# %%
show.source(gradcheck.directional)
everything, all_gradients = [x, *weights], [dx, *gradients]
norm = np.sqrt(sum((a**2).sum() for a in everything))
direction = [rng.standard_normal(a.shape) for a in everything]
length = np.sqrt(sum((u**2).sum() for u in direction))
truth = sum((g * u).sum() for g, u in zip(all_gradients, direction, strict=True)) / length


def central(h, dtype):
    """The derivative along `direction` by a plain central difference, all computed in `dtype`."""
    values = []
    for t in (h, -h):
        moved = [(a + t / length * u).astype(dtype) for a, u in zip(everything, direction, strict=True)]
        values.append(float(network(moved[0], y.astype(dtype), moved[1:])[0]))
    return (values[0] - values[1]) / (2 * h)


def fourth(h):
    loss = lambda: network(x, y, weights)[0]  # noqa: E731
    return gradcheck.directional(loss, everything, all_gradients, np.random.default_rng(1), 1, h / norm).error


steps = 10.0 ** np.arange(-12, 0.1, 0.25)
curves = {
    "central, float32": [abs(central(h, np.float32) / truth - 1) for h in steps],
    "central, float64": [abs(central(h, np.float64) / truth - 1) for h in steps],
    "minast: fourth order, float64": [fourth(h) for h in steps],
}

# %%
draw.steps(steps, curves)
best = {name: min(errors) for name, errors in curves.items()}
for name, errors in curves.items():
    print(f"{name}: best about {best[name]:.0e} near h = {steps[np.argmin(errors)]:.0e}")
assert best["central, float32"] > 1e3 * best["central, float64"]

# %% [markdown]
# On the right of each U the method is too coarse, on the left rounding takes over. The bottom is near where both errors
# are equal: $h^2 = u/h$ puts that at $h = u^{1/3}$, and $h^4 = u/h$ at $h = u^{1/5}$, which is about $10^{-5}$ and $10^{-3}$
# in float64. The higher order makes the U deeper and wider.
#
# The float32 curve is the reason for float64. At its best step a *right* gradient looks wrong by about the number
# printed above. So a mistake smaller than that cannot be found. Let us plant one: `dx` of the layer norm, 0.01 % too
# large. `dx` is only a part of the whole gradient, and of what the direction sees; so the derivative along it is off by
# much less than 0.01 %.

# %%
h32, h64 = (steps[np.argmin(curves[name])] for name in ("central, float32", "central, float64"))
planted = [1.0001 * dx, *gradients]
claim = sum((g * u).sum() for g, u in zip(planted, direction, strict=True)) / length
rows = []
for name, dtype, h in (("float32", np.float32, h32), ("float64", np.float64, h64)):
    around = [abs(truth / central(k * h, dtype) - 1) for k in (0.5, 0.7, 1, 1.4, 2)]  # five steps near the best one
    planted_around = [abs(claim / central(k * h, dtype) - 1) for k in (0.5, 0.7, 1, 1.4, 2)]
    rows.append([name, f"{np.median(around):.1e}", f"{np.median(planted_around):.1e}"])
show.table(rows, ["arithmetic", "error of the right gradient", "error of the wrong one"])
assert float(rows[0][2]) < 3 * float(rows[0][1])  # float32 cannot tell
assert float(rows[1][2]) > 1e3 * float(rows[1][1])  # float64 can
print(f"the planted mistake moves the derivative along the direction by {abs(claim / truth - 1):.1e}")

# %% [markdown]
# In float32 the two errors look alike: its rounding is larger than the mistake. In float64 the wrong gradient stands
# out by far more than a thousand times.
#
# ### Kinks
#
# ReLU has no derivative at 0. A central difference across the kink gives some slope in between, and a right gradient
# looks wrong. Only numbers closer to the kink than $h$ are hit, so such a failure depends on the step: halve $h$, and
# about half of them vanish, while a wrong gradient stays wrong. GELU has no kink.

# %%
t = np.linspace(-2, 2, 401)  # in units of h
h = 1e-5
measured = {
    "ReLU": (np.maximum(t * h + h, 0) - np.maximum(t * h - h, 0)) / (2 * h),
    "GELU": (gelu(t * h + h) - gelu(t * h - h)) / (2 * h),
}
draw.kink(t, measured)
soft = lambda v: np.maximum(v, 0) + np.log1p(np.exp(-np.abs(v)))  # noqa: E731
print(f"slope of softplus measured at 0: {(soft(h) - soft(-h)) / (2 * h):.10f}; σ(0) = 0.5")

# %% [markdown]
# The stable BCE has $\max(x, 0)$ and $|x|$, two kinks at 0. They cancel: together the terms are the smooth $\zeta(x)$,
# and a check across 0 is fine. The maximum in softmax and cross-entropy is harmless too, for another reason: the result
# does not depend on what is subtracted.

# %% [markdown]
# ### Zeros, ones and other places where mistakes hide
#
# A check sees a gradient at one point. A mistake that vanishes there passes. The usual initial weights are such a
# point: layer norm starts with $w = 1$, biases start at 0. Six plausible mistakes, each checked at a point that hides
# it and at a random one. The number is the largest difference from the numeric gradient.


# %%
def worst(loss, x, claimed):
    return np.abs(claimed - numeric_gradient(loss, x)).max()


x, r, w = rng.standard_normal((4, 4)), rng.standard_normal((4, 4)), rng.standard_normal((4, 4))
y, ones, eye, zero = np.eye(4)[[0, 2, 1, 1]], np.ones((4, 4)), np.eye(4), np.zeros((4, 4))
mistakes = [
    ("layer norm: forgot w in dn", "w = 1", [ones[0]], [w[0]],
     lambda w: worst(lambda: (r * layernorm(x, w, 0)).sum(), x, layernorm_back(r, x, ones[0])[0])),
    ("softmax: twice too large", "dp = 1", [ones], [r],
     lambda r: worst(lambda: (r * softmax(x)).sum(), x, 2 * softmax_back(r, softmax(x)))),
    ("linear: w transposed in dx", "w = identity", [eye], [w],
     lambda w: worst(lambda: (r * linear(x, w, 0)).sum(), x, r @ w.T)),
    ("GELU: forgot x φ(x)", "x = 0", [zero], [x.copy()],
     lambda x: worst(lambda: (r * gelu(x)).sum(), x, r * (1 + erf(x / np.sqrt(2))) / 2)),
    ("cross-entropy: forgot 1 / B", "one clip", [x[:1], y[:1]], [x, y],
     lambda x, y: worst(lambda: cross_entropy(x, y), x, softmax(x) - y)),
    ("cross-entropy: forgot the sum of y", "targets sum to 1", [x, y], [x, y + 0.1],
     lambda x, y: worst(lambda: cross_entropy(x, y), x, (softmax(x) - y) / 4)),
]  # fmt: skip
rows = [[name, point, f"{f(*hiding):.0e}", f"{f(*random):.0e}"] for name, point, hiding, random, f in mistakes]
show.table(rows, ["mistake", "where it hides", "difference there", "difference at a random point"])
for row in rows:
    assert float(row[2]) < 1e-8 and float(row[3]) > 1e-2

# %% [markdown]
# One more hides in the bookkeeping: `dw = ...` where `dw += ...` is meant. It shows only if `dw` held something before.
# So: random points, random `dy`, biases that are not zero, odd sizes that all differ (then a transposed matrix does not
# even fit), more than one clip, soft targets, and `dw` filled with numbers beforehand. minast's tests do all of these.

# %% [markdown]
# ### One random direction, or every entry?
#
# Entry by entry, a check costs two or four forward passes per number: hopeless for the millions of weights of a model. Along one random
# direction $u$ of length 1 it costs four in all.
#
# What does it miss? If the gradient $g$ is off by a vector $e$, the check sees $e \cdot u$ against $g \cdot u$. All $n$
# entries of $u$ are alike and their squares sum to 1, so each has mean 0 and variance $1/n$, and two of them are
# uncorrelated (turning the sign of one changes nothing). Hence $e \cdot u = \sum_k e_k u_k$ has variance $|e|^2/n$ and
# the size $|e|/\sqrt n$, and $g \cdot u$ has the size $|g|/\sqrt n$: on the whole the check sees the right proportion
# $|e| / |g|$, but luck makes it larger or smaller. Plant a mistake of 1 % in a single entry and try many directions.

# %%
x = rng.standard_normal((6, 5))
y = rng.random((6, 4))
loss, cache = network(x, y, weights)
dx, gradients = network_back(y, weights, cache)
everything, good = [x, *weights], [dx, *gradients]
bad = [g.copy() for g in good]
bad[3][2, 1] *= 1.01  # one entry of w1
tries = [
    [
        gradcheck.directional(lambda: network(x, y, weights)[0], everything, g, np.random.default_rng(k), 1, 1e-4).error
        for k in range(400)
    ]
    for g in (good, bad)
]
draw.directions({"right gradient": tries[0], "1 % off in one entry of w1": tries[1]})
size = np.sqrt(sum((g**2).sum() for g in good))
off = abs(bad[3][2, 1] - good[3][2, 1])
print(f"|e| / |g| = {off / size:.1e}; median of what the directions saw: {np.median(tries[1]):.1e}")
missed, alarms = sum(e < 1e-7 for e in tries[1]), sum(e > 1e-7 for e in tries[0])
print(f"of 400 directions, {missed} miss the wrong gradient, and {alarms} accuse the right one")

# %% [markdown]
# One direction finds the mistake nearly always; `directional` tries three unless told otherwise, for the unlucky ones.
# It says that something is wrong, not where. The check entry by entry does, so use it next, on a small size or on some
# entries:

# %%
found = gradcheck.per_entry(lambda: network(x, y, weights)[0], weights[2], bad[3], name="w1")
print(found)
assert found.index == (2, 1)
show.source(gradcheck.per_entry)

# %% [markdown]
# ### What no gradient check sees
#
# A check compares the backward pass with the forward pass. If the *forward* pass is wrong, a faithful backward pass
# agrees with it. A layer norm that divides by $C - 1$ instead of $C$ (the deviation of a sample) can have a perfectly
# right gradient, and the pretrained weights would not work with it.

# %%
x, dy = rng.standard_normal((4, 6)), rng.standard_normal((4, 6))


def other_norm(x):
    return (x - x.mean(axis=-1, keepdims=True)) / x.std(axis=-1, ddof=1, keepdims=True)


def other_norm_back(dy, x):
    C, n = x.shape[1], other_norm(x)
    r = 1 / x.std(axis=-1, ddof=1, keepdims=True)
    return r * (dy - dy.mean(axis=-1, keepdims=True) - n * (dy * n).sum(axis=-1, keepdims=True) / (C - 1))


compare(lambda: (dy * other_norm(x)).sum(), x=(x, other_norm_back(dy, x)))
theirs = layers.layernorm_forward(x, np.ones(6), np.zeros(6))[0]
print(f"and yet its output differs from layer norm's by {gap(other_norm(x), theirs):.0%}")
assert gap(other_norm(x), theirs) > 0.05

# %% [markdown]
# Against that only an independent source helps: minast's tests compare values and gradients with PyTorch's, stored in
# `tests/golden`.
#
# ## What to remember
#
# - `dx` has the shape of `x`. $dx_j = \sum_i dy_i\,\partial y_i/\partial x_j$; the Jacobian is never built.
# - Linear: `dx = dy @ w`, `dw = dy.T @ x`, `db` the sum over rows. What is broadcast forward is summed backward.
# - Softmax: `p * (dp - (dp * p).sum())`. Cross-entropy and BCE by their logits: prediction minus target.
# - Layer norm: `r * (dn - <dn> - n <dn n>)`. Directions that change nothing get no gradient.
# - Check in float64, at random points, with random `dy`, at the bottom of the U. First one random direction, then every
#   entry.
# - A gradient check compares backward with forward. That the forward is the right function, something else must say.
#
# ## Where this is in minast
#
# - [`minast/layers.py`](../minast/layers.py): all of the functions above, and their losses
# - [`minast/gradcheck.py`](../minast/gradcheck.py): `directional` and `per_entry`
# - [`minast/encoder.py`](../minast/encoder.py), [`minast/model.py`](../minast/model.py): the same lines reversed, for a
#   block and for the model
# - [`tests/model/test_layers.py`](../tests/model/test_layers.py): every layer at random points and odd sizes
# - [`tests/model/test_gradcheck.py`](../tests/model/test_gradcheck.py): the checker itself: planted mistakes must be found
#
# ## Next
#
# [4. Attention](04_attention.ipynb): the one layer that is missing, and why it is computed in pieces.
