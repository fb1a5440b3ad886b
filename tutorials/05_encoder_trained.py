# %% [markdown]
# # 5. The encoder, trained
#
# ![You are here](pictures/here_05.svg)
#
# Notebooks 2 to 4 built the parts: patches, layer norm, GELU, attention, each with its gradient. Here they become one
# model, and the model learns ten sounds. After this notebook you can
#
# - read a transformer block forward and backward, line against line, and say what its residuals are for;
# - explain why all weights lie in one flat array;
# - write a training loop: batches, gradient, clipping, Adam, a learning-rate schedule;
# - overfit one batch *before* you train, and know why;
# - recognise from its curves what is wrong with a run, and know what no curve shows.
#
# **Needs:** notebooks [3](03_backprop.ipynb) (backward passes) and [4](04_attention.ipynb) (attention).

# %%
import inspect
import math
import re
from unittest import mock

import matplotlib.pyplot as plt
import numpy as np

import minast
import show
from exercises import encoder_trained as check
from figures import encoder_trained as draw
from minast import encoder, gradcheck, layers, metrics, optim, params, scoring
from minast.datasets import open_dataset
from minast.datasets.synthetic import generate
from minast.training import batches
from minast.training.feature_cache import FeatureCache

show.style()

# %% [markdown]
# ## 5.1 One block
#
# An encoder block changes a sequence of $T$ tokens, each $D$ numbers wide ($D$ is the width of the model again), in two steps. First every token asks all the
# others (attention), then every token thinks for itself (a small network with one hidden layer, the *MLP*):
#
# $$x \leftarrow x + \mathrm{proj}(\mathrm{attention}(\mathrm{qkv}(\mathrm{norm}_1(x)))),\qquad
# x \leftarrow x + \mathrm{fc}_2(\mathrm{gelu}(\mathrm{fc}_1(\mathrm{norm}_2(x)))).$$
#
# ![A block forward and backward](pictures/block.svg)
#
# Both steps *add* to $x$. The sum that runs through all blocks is the *residual stream*; what a step adds is its
# *branch*. This is minast's block. `layers` is the module with the layers, `w` the block's weights by name, `c` the
# model's configuration. `lean` is true for wide models on the fast backend: the output of a cheap norm or GELU is then
# not kept, and the backward pass recomputes it (`qkv or normed(...)`). It changes memory, no number.

# %%
show.source(encoder.block_forward, encoder.mlp_forward)

# %% [markdown]
# The backward pass is the same list read from below. Each forward line left a cache; its backward line takes that cache
# and the gradient of what the line made, and returns the gradient of what the line took.

# %%
show.source(encoder.block_backward, encoder.mlp_backward)


# %% [markdown]
# Read side by side, forward downwards and backward upwards, each line stands beside its own gradient. The next cell
# takes the calls from the two sources and checks that one list is the other reversed.


# %%
def calls(function, way):
    """The lines of a function that call layers, and the layers' names."""
    body = inspect.getsource(function).split('"""')[2]  # after the docstring
    lines = [line.split("#")[0].strip() for line in body.splitlines() if f"_{way}(" in line]
    return lines, [re.search(rf"(\w+)_{way}\(", line)[1] for line in lines]


def short(line):
    """A call without its weights, for a table."""
    return "`" + re.sub(r"(, d?w\[.*|, d?w, .*|, c\.\w+)\)$", ", ...)", line.replace("layers.", "")) + "`"


both = (encoder.block_forward, encoder.block_backward), (encoder.mlp_forward, encoder.mlp_backward)
for forward, backward in both:
    down, names = calls(forward, "forward")
    up, mirrored = calls(backward, "backward")
    assert names == mirrored[::-1]
    rows = [[short(a), short(b)] for a, b in zip(down, up[::-1], strict=True)]
    show.table(rows, ["forward, downwards", "backward, upwards"])

# %% [markdown]
# ## 5.2 What residuals are for
#
# Let $y = x + f(x)$, and let $J$ be the matrix of derivatives of $f$, $J_{ij} = \partial f_i / \partial x_j$. A small
# change $\delta$ of $x$ changes $y$ by $\delta + J\delta$, so it changes the loss by
#
# (with $\langle a, b\rangle = \sum_m a_m b_m$, the dot product, for which $\langle a, Jb\rangle = \langle J^{\mathsf T}
# a, b\rangle$, as in notebook 2)
#
# $$\langle dy,\ \delta + J\delta\rangle = \langle dy + J^{\mathsf T} dy,\ \delta\rangle
# \quad\Longrightarrow\quad dx = dy + J^{\mathsf T} dy .$$
#
# $J^{\mathsf T}dy$ is what the branch's backward pass returns; the other $dy$ is the line `dh += dx` above. Through $L$
# branches the gradient is $(I + J_1^{\mathsf T})\cdots(I + J_L^{\mathsf T})\,dy$. Multiply out, and one of the $2^L$
# terms is $dy$ itself, untouched: however deep the network, its first block hears the loss directly.
#
# It is tempting to go on: "without residuals only the product of all $J$ is left, so the gradient vanishes". A network
# without residuals is another network, though, with other activations and other $J$. So let us build it: the lines
# that add are taken out of minast's own source, in the forward pass *and* in the backward pass.

# %%
NAMES = ("mlp_forward", "mlp_backward", "block_forward", "block_backward", "last_block_forward", "last_block_backward")
ADDED, PASSED_ON = r" +h \+= x\b.*\n", r" +dh(\[:, :P\])? \+= dx\n"  # lines, as regular expressions


def without(*lines, names=NAMES):
    """Functions of minast/encoder.py with these lines taken out of their source.   -> {name: function}"""
    scope = dict(vars(encoder))
    for name in names:
        source, found = re.subn("|".join(lines) or "(?!)", "", inspect.getsource(getattr(encoder, name)))
        assert found == bool(lines), f"{name} does not have one such line"
        exec(source, scope)
    return {name: scope[name] for name in names}


networks = {"with residuals": without(), "without": without(ADDED, PASSED_ON)}

# %% [markdown]
# Twelve blocks of minast's smallest preset, *nano* (width 96, 3 heads), with random weights and random tokens, in which
# no two are alike. After each block we measure the mean cosine of two tokens of a sequence. On the way back we measure
# the length of the gradient at the tokens that enter each block, and of the gradient of its weights: it is from this
# one that the block learns. Eight seeds.

# %%
config = minast.ModelConfig.preset("nano", classes=10, frames=98, fstride=16, tstride=16)
SEEDS = range(8)


def likeness(x):
    """The mean cosine of two different tokens of a sequence.   x (B, T, D)"""
    unit, T = x / np.linalg.norm(x, axis=-1, keepdims=True), x.shape[1]
    return float(((unit.sum(axis=1) ** 2).sum(axis=-1).mean() - T) / (T * (T - 1)))  # |sum|^2 is T and all pairs


def length(arrays):
    return np.sqrt(sum(np.sum(np.square(a)) for a in arrays))


def measured(functions, seed):
    """One forward and backward pass through twelve random blocks, as a dictionary of measures by block"""
    model, rng = minast.AST(config, backend="numpy", seed=seed), np.random.default_rng(seed)
    x = rng.standard_normal((2, config.tokens, config.dim)).astype("float32")
    alike, caches = [likeness(x)], []
    for w, _ in model.encoder.blocks:
        x, cache = functions["block_forward"](layers, x, w, config)
        alike.append(likeness(x))
        caches.append(cache)
    dx = rng.standard_normal(x.shape).astype("float32")
    at_tokens = [length([dx])]
    for (w, dw), cache in zip(model.encoder.blocks[::-1], caches[::-1], strict=True):
        dx = functions["block_backward"](layers, dx, cache, w, dw, config)
        at_tokens.append(length([dx]))
    qkv = [np.split(dw["attn.qkv.weight"], 3) for _, dw in model.encoder.blocks]
    return {
        "alike": alike,
        "gradient at the tokens": np.array(at_tokens[::-1]) / at_tokens[0],
        "gradient of the weights": [length(dw.values()) for _, dw in model.encoder.blocks],
        "queries and keys over values": [length([q, k]) / length([v]) for q, k, v in qkv],
    }


runs = {name: [measured(functions, seed) for seed in SEEDS] for name, functions in networks.items()}
found = {what: {name: np.array([r[what] for r in runs[name]]) for name in runs} for what in runs["without"][0]}
draw.residuals(found["alike"], found["gradient at the tokens"])


# %%
def spread(values):
    """Mean and deviation among the seeds, in words."""
    return f"{values.mean():.2f} ± {values.std():.2f}"


alike, tokens, weights = (found[k] for k in ("alike", "gradient at the tokens", "gradient of the weights"))
ratio = {name: w[:, 0] / w[:, -1] for name, w in weights.items()}  # block 0 over block 11
show.say(
    f"**Tokens.** Without residuals the mean cosine of two tokens is {spread(alike['without'][:, 1])} after one block, "
    f"{spread(alike['without'][:, 2])} after two and {alike['without'][:, 4].mean():.4f} after four. With them it is "
    f"{spread(alike['with residuals'][:, 12])} after twelve. (Mean and deviation of {len(SEEDS)} seeds.)"
)
show.say(
    f"**Gradient.** Without residuals the gradient at the tokens that enter block 0 is {spread(tokens['without'][:, 0])} of "
    f"that at the output; with them {spread(tokens['with residuals'][:, 0])}. The weights of block 0 get "
    f"{spread(ratio['without'])} times as much as those of block 11; with residuals {spread(ratio['with residuals'])} times."
)
assert alike["without"][:, 1].min() > 0.1 and alike["without"][:, 4:].min() > 0.99
assert alike["with residuals"].max() < 0.2 and tokens["with residuals"].min() > 0.9
assert tokens["without"][:, 0].mean() > 0.02 and ratio["without"].min() > 0.1

# %% [markdown]
# So the gradient does not vanish. It is smaller and depends more on the seed, but it is there: each branch begins with a
# norm, whose backward pass divides by the deviation of its input, and that makes up for branches that make things
# smaller. What dies is the *difference between tokens*. Attention replaces a token by a weighted mean of all, and means
# are more alike than what they are means of. After a few blocks every row of $x$ is nearly the same vector, a matrix of
# rank one: *rank collapse* ([Dong, Cordonnier and Loukas 2021](https://arxiv.org/abs/2103.03404), who prove that for
# attention alone the rest shrinks doubly exponentially with depth, and that residuals can prevent it). A residual keeps
# each token's own vector and adds the mean to it.
#
# A collapsed network cannot learn where to look, either. If all values are the same vector $v$, then $dp_{ij} = do_i
# \cdot v$ is the same for all $j$, and $ds_{ij} = p_{ij}(dp_{ij} - \Delta_i) = 0$ (notebook 4): queries and keys get no
# gradient ([Noci et al. 2022](https://arxiv.org/abs/2206.03126)).

# %%
last = {name: values[:, -1] for name, values in found["queries and keys over values"].items()}
show.say(
    "Length of the gradient of the weights of queries and keys over that of values, in block 11: "
    + "; ".join(f"{name} {v.mean():.2g} ± {v.std():.1g}" for name, v in last.items())
    + "."
)
assert last["without"].max() < 0.01 and last["with residuals"].min() > 0.3

# %% [markdown]
# Does it matter for learning? Section 5.12 trains both, once with 4 and once with 12 blocks.
#
# ### Exercise 5.1 ★★ Design: two branches side by side
#
# Some large models ([PaLM](https://arxiv.org/abs/2204.02311), [ViT-22B](https://arxiv.org/abs/2302.05442)) compute both
# halves of a block at once, from one norm: $y = x + \mathrm{attention}(h) + \mathrm{mlp}(h)$ with $h =
# \mathrm{norm}(x)$. Write the backward pass. `norm`, `attention` and `mlp` are the three backward passes: each takes
# the gradient of what its part returned, gives the gradient of what it took, and *adds* the gradients of its weights.
#
# <details><summary>Hint</summary>
#
# In how many ways does $x$ reach $y$? Where two ways share a part, their gradients meet before they go back through it.
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def parallel_backward(dy, norm, attention, mlp):
    """dx of y = x + attention(norm(x)) + mlp(norm(x))"""
    return ...  # your code: replace this line


# %%
check.parallel_backward(parallel_backward)

# %% [markdown]
# ## 5.3 From blocks to a model
#
# The rest of AST is short. Patches become tokens, [CLS] goes in front, positions are added, the blocks follow; then the
# final norm, the [CLS] token alone, one more norm and a linear layer. `tape` is a list: forward appends each cache,
# backward pops them. A list that is popped from its end is all that "reverse mode" means. Two things to know as you
# read. The tokens in front of the patches are the *prefix*: [CLS] alone here, two in the published AST, and
# `pool_forward` takes their mean. And since nothing else reaches the head, `last_block_forward` computes only their
# rows in the last block (keys and values still come from all tokens).

# %%
show.source(minast.AST._encoder_forward, minast.AST._head_forward)
show.source(minast.AST._head_backward, minast.AST._encoder_backward)

# %% [markdown]
# How large is a block? Attention has `qkv` ($3D \times D$ and $3D$ biases) and `proj` ($D \times D$ and $D$), the MLP
# `fc1` ($4D \times D$ and $4D$) and `fc2` ($D \times 4D$ and $D$), and two norms have $2D$ each.
#
# ### Exercise 5.2 ★ Predict: the weights of a block
#
# `block_weights(dim)`: the number of weights in one block of width `dim`, biases and norms included. The check counts
# the arrays of real models.
#
# <details><summary>Hint</summary>
#
# Five kinds of parts: `qkv`, `proj`, `fc1`, `fc2`, and two norms. A linear layer from $a$ to $b$ numbers has $ab + b$
# weights.
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def block_weights(dim):
    """Weights in one block."""
    return ...  # your code: replace this line


# %%
check.block_weights(block_weights)

# %% [markdown]
# ## 5.4 One flat array
#
# A model of twelve blocks has 154 weight arrays. An optimizer (what turns a gradient into a step of the weights) that
# loops over them is slow and easy to get wrong. minast allocates **one** array, once, and hands out *views* of it by
# name. The gradients, and whatever else there is one of for each weight, have the same layout. So the optimizer is one
# call, the length of the gradient is one sum, and saving is one loop.

# %%
show.source(params.Views, params.zeros)

# %%
sizes = {"classes": 10, "frames": 98, "fstride": 16, "tstride": 16}
small = minast.ModelConfig.preset("nano", depth=4, **sizes)
model = minast.AST(small, backend="fast", seed=0)
first = model.w["blocks.0.attn.qkv.weight"]
assert len(minast.AST(config, backend="numpy").w) == 154
print(f"{len(model.w)} arrays, {model.parameters} weights, one flat array of {model.w.flat.size} numbers")
print("the view is part of it:", np.shares_memory(first, model.w.flat))
before = first[0, 0]
model.w.flat *= 2  # one statement changes every weight of the model
assert first[0, 0] == 2 * before
model.w.flat /= 2
gap = 1 - model.parameters / model.w.flat.size
print(f"alignment gaps: {gap:.2%} of the array, always zero")

# %%
draw.flat_array(model.w, f"Four blocks of width {small.dim}: where each weight lies")

# %% [markdown]
# Each array starts on a multiple of 256 bytes, 64 numbers of float32. A GPU reads its memory in sectors of 32 bytes and
# caches it in lines of 128, a CPU in lines of 64, and a vector instruction likes to begin where such a piece begins. 256
# is a multiple of all of them, and what CUDA's own allocator promises. The price is a small gap behind most biases.
#
# ### Exercise 5.3 ★★ Design: the layout
#
# `flat_offsets(sizes, step)`: arrays of `sizes` numbers are put one after the other, each starting at a multiple of
# `step`. Return the list of their starts, and the total length (also a multiple of `step`).
#
# <details><summary>Hint</summary>
#
# `-(-a // b)` is $a / b$ rounded up, in whole numbers.
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def flat_offsets(sizes, step):
    """starts, total length"""
    return ...  # your code: replace this line


# %%
check.flat_offsets(flat_offsets)

# %% [markdown]
# ## 5.5 Is the whole gradient right?
#
# Every layer was checked by itself. That does not check how they are put together: a forgotten residual has no layer to
# fail in. So the same check runs on the whole model, in float64: move all weights along a random direction, and compare
# the change of the loss with what the gradient promises, for three directions. We do it for the real model, for the one
# without residuals, and for a model with a mistake: the forward pass adds, but one line `dh += dx` of the backward
# pass, that of the attention half, is forgotten.


# %%
# varies: rounding
def small_gradient():
    """A model of three blocks in float64.   -> the worst of three directions, the whole gradient as one vector"""
    config = minast.ModelConfig(dim=16, depth=3, heads=2, frames=32, mel_bins=32, classes=3, fstride=16, tstride=16)
    model = minast.AST(config, backend="numpy", seed=1, dtype="float64")
    rng = np.random.default_rng(2)
    model.w.flat += 0.1 * rng.standard_normal(model.w.flat.shape)  # biases that are not zero
    x, y = rng.standard_normal((2, 32, 32)), np.array([0, 2])
    model.zero_grad()
    model.loss_and_grad(x, y, "ce")
    w, dw = list(model.w.values()), list(model.dw.values())
    return gradcheck.directional(lambda: model.loss(model.forward(x), y, "ce"), w, dw, rng), model.dw.flat.copy()


forgotten = without(PASSED_ON, names=("block_backward",))
found, gradient = {}, {}
for name, functions in {**networks, "residual forgotten backward": forgotten}.items():
    with mock.patch.multiple(encoder, **functions):
        found[name], gradient[name] = small_gradient()
    print(f"{name}:\n    {found[name]}")
assert max(found[name].error for name in networks) < 1e-7 < 1e-2 < found["residual forgotten backward"].error

# %% [markdown]
# The model without residuals passes: its gradient is right, only of another function. The one with the mistake fails. How
# wrong is it? A few directions cannot say; the two whole gradients can be compared, since we have both.

# %%
right, wrong = gradient["with residuals"], gradient["residual forgotten backward"]
missing = np.linalg.norm(right - wrong) / np.linalg.norm(right)
cosine = right @ wrong / np.linalg.norm(right) / np.linalg.norm(wrong)
show.say(
    f"The wrong gradient differs from the right one by {missing:.0%} of its length, and the cosine of the two is "
    f"{cosine:.2f}: a step against it still goes downhill."
)
assert missing > 0.1 and cosine > 0.2

# %% [markdown]
# ## 5.6 Ten sounds
#
# minast synthesises its own data: ten everyday sounds, each different every time, at any level, over any background.
# Listen to three, and look at one of each. A *log-mel spectrogram* (notebook 1) is what the model sees.

# %%
for label in ("siren", "clock", "bird"):
    show.audio(generate.synthesise(label, np.random.default_rng(7)), 16000, title=label)

# %%
data = open_dataset("builtin", seed=0)
features = minast.FeatureConfig(frames=98)
train_clips, held_out_clips = data.of("train")[:960], data.of("test")[:200]
cached, held_out = (FeatureCache(clips, features, cache=False, quiet=True) for clips in (train_clips, held_out_clips))
targets, held_out_targets = data.targets(train_clips), data.targets(held_out_clips)
mean_level, std = cached.mean_std()
features = minast.FeatureConfig(frames=98, mean=mean_level, std=std)
print(
    f"{len(cached)} clips to learn from, {len(held_out)} held out; log-mel mean {mean_level:.2f}, deviation {std:.2f} (nats)"
)

first_of = {data.labels[k]: int(np.flatnonzero(targets[:, k])[0]) for k in range(len(data.labels))}
show.spectrograms({label: cached[i] for label, i in first_of.items()}, height=4.2)

# %% [markdown]
# The model gets $(x - \mathrm{mean}) / (2\,\mathrm{std})$, with mean and deviation measured on the training clips:
# numbers around zero, of size about a half. Our model is the nano preset cut to four blocks, with patches that do not
# overlap: small enough to train while you read.
#
# ## 5.7 Before the first step: the loss you should see
#
# A classifier that knows nothing gives each of $K$ classes the probability $1/K$. Its cross-entropy is $-\ln(1/K) = \ln
# K$: for ten classes 2.303 nats. If the first loss is far from it, look for the mistake before you train.


# %%
def batch_of(chosen, config=minast.TrainConfig()):  # noqa: B008  frozen
    """Normalised spectrograms and targets of some training clips."""
    return batches.training_batch(cached, targets, chosen, features, config, epoch=0, step=0)


model = minast.AST(small, backend="fast", seed=0)
x, y = batch_of(np.arange(16))
first_loss = model.loss(model.forward(x), y, "ce")
print(f"x {x.shape}, mean {x.mean():.2f}, deviation {x.std():.2f};  loss {first_loss:.3f}, ln 10 = {math.log(10):.3f}")
assert abs(first_loss - math.log(10)) < 0.5

# %% [markdown]
# ## 5.8 One step: clip, then Adam
#
# The plainest step is $w \leftarrow w - \mathrm{lr}\,g$: downhill, by the *learning rate* lr times the gradient $g$. Two
# things are done to $g$ first.
#
# *Clipping.* If $|g|$, the length of the whole gradient, is larger than a limit, $g$ is shortened to it. One odd batch
# then cannot throw the weights far away.
#
# *Adam* ([Kingma and Ba 2015](https://arxiv.org/abs/1412.6980)). Gradients of different weights differ in size by orders of magnitude, and one rate cannot suit all. So Adam
# keeps two running means for each weight, its *moments*: of the gradient and of its square,
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\,g,\qquad v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2,\qquad
# w \leftarrow w - \mathrm{lr}\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.$$
#
# Both start at zero, and after $t$ steps of a constant $g$ they are $(1 - \beta^t)$ of what they should be: that is what
# the two divisors mend. A weight whose gradient hardly changes moves by about lr a step, however small that gradient is;
# one whose gradient keeps changing its sign hardly moves. *Weight decay* also takes $\mathrm{lr}\cdot\mathrm{decay}\cdot
# w$ off in each step (`decoupled=True`: beside the moments, not through them). Try two gradients that never change, one
# a million times the other:

# %%
for g in (1e-3, 1e3):
    w = np.zeros(1, "float32")
    steps = optim.Adam(w)
    for _ in range(10):
        steps.step(np.array([g], "float32"), lr=0.01)
    print(f"ten steps of lr 0.01 with the gradient {g:g}: the weight went from 0 to {w[0]:.4f}")
    assert abs(w[0] + 0.1) < 1e-4

# %% [markdown]
# ## 5.9 Overfit one batch
#
# Sixteen clips, the same ones in every step. A model of this size must be able to learn them by heart: the loss has to
# go to zero. If it does not, there is a mistake in the code, and no amount of data will help. The test takes seconds.
# One step is four lines: gradients to zero, loss and gradient, clip, Adam.

# %%
# varies: the last digits of training depend on the processor
adam = optim.Adam(model.w.flat)
overfit = []
for _ in range(40):
    model.zero_grad()
    loss, logits = model.loss_and_grad(x, y, "ce")
    optim.clip_gradient(model.dw.flat, 1.0)  # a gradient longer than 1 is shortened to 1
    adam.step(model.dw.flat, lr=1e-3)
    overfit.append(loss)

_, axes = show.figure(height=2.4)
axes.axhline(math.log(10), color="0.4", linestyle=":", label="ln 10: knows nothing")
show.lines(
    range(len(overfit)),
    {"16 clips": overfit},
    axes,
    title="Sixteen clips, learnt by heart",
    xlabel="step",
    ylabel="loss (nats)",
    limits={"yscale": "log"},
    names=False,
)
show.beside(axes)
plt.show()
print(f"loss {overfit[0]:.3f} -> {overfit[-1]:.4f}; {int((logits.argmax(1) == y.argmax(1)).sum())} of 16 right")
assert overfit[-1] < 0.1

# %% [markdown]
# That says the gradient points downhill and nothing is cut off. It says nothing about new sounds: see what the same
# model makes of clips that it has never heard.

# %%
# varies: training depends on the processor


def share(p, n):
    """A share of n clips with its standard error, in words."""
    return f"{p:.1%} ± {math.sqrt(p * (1 - p) / n):.1%}"


info = minast.checkpoint.Info(features=features, labels=data.labels, loss="ce")
scores = scoring.clip_scores(model, info, held_out)
by_heart = metrics.accuracy(scores, held_out_targets)
show.say(
    f"Held out: {share(by_heart, len(held_out))} of {len(held_out)} clips are named rightly (± one standard error; "
    "guessing: 10 %)."
)

# %% [markdown]
# ## 5.10 The learning rate over time
#
# Adam divides by the gradient's own recent size, so the first steps are as long as all others, though the model knows
# nothing yet. A *warm-up* keeps them short: the rate rises in a straight line. After it, the rate falls along
# half a cosine to zero, so that the last steps settle instead of jumping about. With $S$ steps, $W$ of them warm-up,
#
# $$\mathrm{lr}(s) = \begin{cases} \mathrm{lr}_{\max}\,\dfrac{s + 1}{W} & s < W\\[2mm]
# \mathrm{lr}_{\max}\,\dfrac{1}{2}\left(1 + \cos\pi\dfrac{s - W}{S - W}\right) & s \ge W .\end{cases}$$
#
# ### Exercise 5.4 ★★ Design: a schedule of your own
#
# A cosine has to know its end when it starts. [MiniCPM](https://arxiv.org/abs/2404.06395) trains level, and comes down
# only when one decides to stop. Write such a trapezoid, steps counted from 0:
#
# - the first `warmup` steps rise in a straight line; the last one of them, and all until the fall, have the rate `lr`;
# - the last `cooldown` steps fall in a straight line: the first of them still gets `lr`, and the step after the last would
#   get 0;
# - no step gets 0; `warmup` or `cooldown` may be 0: then there is no such part.
#
# <details><summary>Hint</summary>
#
# Each part is a line through two points that the demands name. The rate is the lowest of the three lines.
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def trapezoid(step, steps, lr, warmup, cooldown):
    """The learning rate of one step."""
    return ...  # your code: replace this line


# %%
check.trapezoid(trapezoid)

# %% [markdown]
# ## 5.11 The training loop
#
# Now all clips. An *epoch* is one pass through them in a new random order. Which clips, in which order: that is a pure
# function of (seed, epoch, step) in minast, so a run can stop anywhere and go on bit for bit. The loop below is the
# core of `minast/training/loop.py`; there it also draws a progress bar, saves, and watches for Ctrl-C.


# %%
def train(model, config):
    """The training loop. -> loss of every step, a row of measures for every epoch"""
    per_epoch = batches.steps_per_epoch(len(cached), config.batch)
    adam = optim.Adam(model.w.flat, config.betas, weight_decay=config.weight_decay, decoupled=True)
    losses, history = [], []
    for step in range(config.epochs * per_epoch):
        epoch, at = divmod(step, per_epoch)
        chosen = batches.order(len(cached), config, epoch)[at * config.batch : (at + 1) * config.batch]
        x, y = batches.training_batch(cached, targets, chosen, features, config, epoch, at)
        model.zero_grad()
        loss, logits = model.loss_and_grad(x, y, config.loss)
        optim.clip_gradient(model.dw.flat, config.max_grad_norm)
        adam.step(model.dw.flat, optim.schedule(config, step, per_epoch))
        losses.append((loss, batches.hits(logits, y) / len(y)))
        if at == per_epoch - 1:
            history.append(row(model, epoch + 1, np.mean(losses[-per_epoch:], axis=0)))
    return np.array(losses)[:, 0], history


def row(model, epoch, training):
    """What one epoch came to, on the training batches as they went by and on the held-out clips."""
    scores = scoring.clip_scores(model, info, held_out)
    valid_loss = scoring.mean_loss(scores, held_out_targets, "ce")
    accuracy = metrics.accuracy(scores, held_out_targets)
    print(f"epoch {epoch}  loss {training[0]:.3f}  held out: loss {valid_loss:.3f}  accuracy {accuracy:.1%}")
    return {
        "epoch": epoch,
        "train_loss": training[0],
        "train_top1": training[1],
        "valid_loss": valid_loss,
        "accuracy": accuracy,
    }


# %%
# varies: training depends on the processor
recipe = minast.TrainConfig(epochs=5, batch=16, lr=1e-3, warmup=60)
model = minast.AST(small, backend="fast", seed=0)
losses, history = train(model, recipe)

# %% [markdown]
# The left picture is what to look at first: training and held-out loss fall together. When the held-out loss turns
# upwards while the training loss goes on falling, the model has begun to learn its clips by heart, as above.

# %%
# varies: training depends on the processor
_, (left, right) = show.figure(1, 2, height=3)
epochs = [row["epoch"] for row in history]
pairs = {"loss (nats)": ("train_loss", "valid_loss"), "share of right answers": ("train_top1", "accuracy")}
for axes, (unit, (training, valid)) in zip((left, right), pairs.items(), strict=True):
    series = {"training": [row[training] for row in history], "held out": [row[valid] for row in history]}
    show.lines(epochs, series, axes, xlabel="epoch", ylabel=unit, names=axes is right, marker=".")
plt.show()
final = history[-1]["accuracy"]
show.say(f"Held out: {share(final, len(held_out))} (± one standard error of a share of {len(held_out)} clips).")
assert final > max(0.6, by_heart) and history[-1]["valid_loss"] < history[0]["valid_loss"]

# %% [markdown]
# Which sounds does it take for which? A *confusion matrix* counts: rows are what the clip is, columns what the model
# says. Right answers lie on the diagonal.

# %%
# varies: training depends on the processor
scores = scoring.clip_scores(model, info, held_out)
matrix = metrics.confusion_matrix(scores, held_out_targets.argmax(axis=1))
draw.confusion(matrix, data.labels)
off = matrix - np.diag(np.diag(matrix))
a, b = np.unravel_index(off.argmax(), off.shape)
show.say(f"Most frequent mistake: {data.labels[a]} taken for {data.labels[b]}, {off[a, b]} of {matrix[a].sum()} clips.")

# %% [markdown]
# This was a small model and a small share of the data. The real command trains the twelve blocks of the nano preset
# with overlapping patches on 2400 clips, in a few minutes, and leaves a checkpoint, these same pictures, and one sound
# of each class to listen to. The README shows what it prints.
#
# ```bash
# python -m minast.train                     # the ten sounds
# python -m minast.train my_sounds/          # yours: one sub-folder per class
# python -m minast.train --resume runs/builtin-nano
# ```
#
# ## 5.12 Reading a failure
#
# Training rarely stops with an error message. It goes on and learns nothing, or less than it could. The best place to
# look is the one-batch test again: it takes seconds, and hardly anything but a mistake can keep the loss up. Here it
# runs as it should be, and eight times with something wrong:
#
# | name | what is wrong |
# | --- | --- |
# | rate too high | learning rate 0.3 instead of 0.001, no clipping |
# | rate too low | learning rate 0.00001 |
# | wrong sign | each step goes uphill |
# | dead head | all weights of the head begin at zero, its norm's as well |
# | input not normalised | log-mels as they are, about -7 |
# | residual forgotten backward | the wrong gradient of section 5.5 |
# | no residuals, 4 blocks | the network of section 5.2: nothing is added, neither forward nor backward |
# | no residuals, 12 blocks | the same, as deep as AST |
#
# ### Exercise 5.5 ★★ Predict, then run
#
# Which of the eight learn the batch anyway, that is, get the loss below half of $\ln 10$ in the last ten of 30 steps, on average and
# with each of three seeds? Write down your guess for each before you go on. The check tells you how many are right, and of one that is not.
#
# <details><summary>Hint</summary>
#
# Which mistakes leave a direction that still goes downhill? Adam makes a full step out of any. And at which depth have
# the tokens collapsed?
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def learns_anyway(mistake):
    """One of the eight names -> True or False"""
    return ...  # your code: replace this line


# %%
check.learns_anyway(learns_anyway)

# %%
# varies: training depends on the processor


def one_batch(seed, depth=4, lr=1e-3, clip=1.0, sign=1, scale=lambda x: x, before=lambda model: None, functions=None):
    """30 steps of the one-batch test, with one thing changed (clip=0: none). -> losses, each block's first gradient"""
    model = minast.AST(minast.ModelConfig.preset("nano", **{**sizes, "depth": depth}), backend="fast", seed=seed)
    before(model)
    x, y = batch_of(np.arange(16))
    adam, losses = optim.Adam(model.w.flat), []
    with mock.patch.multiple(encoder, **(functions or without())):
        for step in range(30):
            model.zero_grad()
            losses.append(model.loss_and_grad(scale(x), y, "ce")[0])
            if step == 0:
                lengths = [length(dw.values()) for _, dw in model.encoder.blocks]
            optim.clip_gradient(model.dw.flat, clip)
            adam.step(sign * model.dw.flat, lr * min(1, (step + 1) / 10))
    return losses, lengths


def dead_head(model):
    """The whole head at zero, its norm as well."""
    for name, weights in model.w.items():
        if name.startswith("mlp_head"):
            weights[...] = 0


def raw(x):
    """The log-mel as it was before normalisation: about -7, and down to -16."""
    return x * (2 * std) + mean_level


settings = {
    "as it should be": {},
    "rate too high": {"lr": 0.3, "clip": 0},
    "rate too low": {"lr": 1e-5},
    "wrong sign": {"sign": -1},
    "dead head": {"before": dead_head},
    "input not normalised": {"scale": raw},
    "residual forgotten backward": {"functions": forgotten},
    "no residuals, 4 blocks": {"functions": networks["without"]},
    "no residuals, 12 blocks": {"functions": networks["without"], "depth": 12},
    "as it should be, 12 blocks": {"depth": 12},
}
losses, first_gradients = {}, {}
with np.errstate(all="ignore"):  # some of them overflow
    for name, wrong in settings.items():
        both = [one_batch(seed, **wrong) for seed in range(3)]
        losses[name], first_gradients[name] = (np.array(one) for one in zip(*both, strict=True))

# %%
# varies: training depends on the processor
mistakes = [name for name in losses if not name.startswith("as it")]
good = {name: losses["as it should be, 12 blocks" if "12" in name else "as it should be"] for name in mistakes}
draw.against({name: losses[name] for name in mistakes}, good, math.log(10))
ends = {name: loss[:, -10:].mean(axis=1) for name, loss in losses.items()}
rows = [[n, f"{losses[n][:, 0].mean():.2f}", f"{e.mean():.3f} ± {e.std():.3f}"] for n, e in ends.items()]
show.table(rows, ["run", "first loss", "mean of the last ten (± deviation of three seeds)"])
assert {name: bool((ends[name] < math.log(10) / 2).all()) for name in mistakes} == check.LEARNS
assert all((ends[name] > math.log(10) / 2).all() for name in mistakes if not check.LEARNS[name])

# %% [markdown]
# Read them one by one; three seeds are three lines.
#
# - **Rate too high.** The loss leaps far above $\ln K$ within a few steps, jumps about, and at best comes back to
#   $\ln K$: the weights have been thrown somewhere from where nothing is learnt. Divide the rate by ten.
# - **Rate too low.** A clean, slow fall. Nothing is broken; multiply the rate by ten until it is not clean any more.
# - **Wrong sign.** The loss *climbs almost without a break*. A rate that is too high jumps; only a step uphill climbs.
# - **Dead head.** The loss stays near $\ln K$: the output does not depend on the input. Here every factor of
#   the head is zero, so each gradient contains another factor that is zero; only the last bias can move. (These 16
#   clips are not spread evenly over the classes, and the bias learns that: a small fall is no learning.)
# - **Input not normalised.** It learns, but later. All patches share one large offset, the mean of about -7,
#   which outweighs what differs between them. Look at the first steps, not at the last ones.
# - **No residuals.** With 4 blocks you would not notice: it is a little late. With 12 the tokens have collapsed, and
#   the same 30 steps do not learn 16 clips. The gradient is right in both.
# - **Residual forgotten backward.** *You would not notice.* The curve is a little late and ends nearly as low: Adam
#   makes a full step out of any gradient that still points downhill, and a model of this size learns 16 clips by heart
#   along a wrong one, too. No curve replaces the gradient check.

# %%
# varies: training depends on the processor
sums = {name: loss.mean(axis=1) for name, loss in losses.items()}  # a late curve has a larger mean
assert all((sums[n] > sums["as it should be"]).all() for n in ("input not normalised", "residual forgotten backward"))
assert (sums["no residuals, 4 blocks"].mean() > sums["as it should be"].mean()) and (
    losses["rate too high"].max(1) > 6
).all()
assert (np.diff(losses["wrong sign"], axis=1) > 0).mean() > 0.95 and (ends["wrong sign"] > 4).all()
assert (np.diff(losses["rate too low"], axis=1) < 0).all() and (np.abs(ends["dead head"] - math.log(10)) < 0.1).all()
assert np.isfinite(losses["rate too high"]).all() and (ends["rate too high"] > 0.7 * math.log(10)).all()

# %% [markdown]
# Besides the check, the length of the gradient block by block shows a forgotten residual: as it should be, it grows
# towards the input; with the mistake it fades. (The dead head's bars have no height: all are zero.)

# %%
# varies: training depends on the processor
shown = {name: first_gradients[name] for name in ("as it should be", "residual forgotten backward", "dead head")}
show.bars(
    [f"block {i}" for i in range(4)],
    {name: g.mean(axis=0) for name, g in shown.items()},
    errors={name: g.std(axis=0) for name, g in shown.items()},
    title="The first gradient, block by block (three seeds)",
    ylabel="length of the gradient",
)
assert shown["dead head"].max() == 0
assert (shown["residual forgotten backward"][:, 0] < shown["residual forgotten backward"][:, -1] / 2).all()
assert (shown["as it should be"][:, 0] > shown["as it should be"][:, -1]).all()
for name in ("as it should be", "residual forgotten backward"):
    last, first = (f"{g.mean():.2f} ± {g.std():.2f}" for g in (shown[name][:, -1], shown[name][:, 0]))
    times = (shown[name][:, 0] / shown[name][:, -1]).mean()
    show.say(f"From block 3 back to block 0, {name}: from {last} to {first}, {times:.2f} times as long.")
assert shown["as it should be"][:, 0].mean() > shown["as it should be"][:, -1].mean()

# %% [markdown]
# ### Exercise 5.6 ★★ Design: a program that reads curves
#
# `diagnose(losses, classes)` reads a list of training losses and returns one word: `"diverged"` (it ends far above what
# a model that knows nothing has, or some loss is no finite number), `"stuck"` (it ends where a model that knows nothing
# is), or `"learns"`. Where you draw the lines is up to you: the check tries curves that are far from any sensible one,
# and some that mislead.
#
# <details><summary>Hint</summary>
#
# What is the loss of a model that knows nothing, for `classes` classes? Which comparisons with NaN are true? Is one
# step's loss enough to say where a run has ended?
#
# </details>
#
# [Solution](solutions/encoder_trained.py)


# %%
def diagnose(losses, classes):
    """One word: diverged, stuck or learns."""
    return ...  # your code: replace this line


# %%
check.diagnose(diagnose)

# %% [markdown]
# ## What to remember
#
# - Backward is forward's lines in reverse order, each with its own cache. What is added forward passes the gradient on
#   untouched backward.
# - Residuals keep tokens different. Without them twelve blocks make all tokens equal, and attention has nothing left to
#   choose from; the gradient alone would not have told.
# - All weights in one array, gradients and moments beside it: the optimizer is one call.
# - Before training: the loss is $\ln K$, and one batch can be learnt by heart. After a change in a backward pass: the
#   gradient check, since curves do not show a wrong gradient.
# - Training loss says whether it learns; held-out accuracy, whether it learnt what you wanted.
#
# ## Where this is in minast
#
# [encoder.py](../minast/encoder.py), [model.py](../minast/model.py): the composition. [params.py](../minast/params.py):
# the flat array. [optim.py](../minast/optim.py): Adam, clipping, schedules. [batches.py](../minast/training/batches.py): which
# clips. [loop.py](../minast/training/loop.py): the loop. [gradcheck.py](../minast/gradcheck.py): the check.
#
# ## Next
#
# [06_vit_to_ast](06_vit_to_ast.ipynb): start from weights that have seen pictures, instead of from random ones.
