# %% [markdown]
# # 5. The whole encoder, trained
#
# Notebooks 2 to 4 built the parts: patches, layer norm, GELU, attention, each with its gradient. Here they become one
# model, and the model learns ten sounds. After this notebook you can
#
# - read a transformer block forward and backward, line against line, and say what the residual does to the gradient;
# - explain why all weights lie in one flat array;
# - write a training loop: batches, gradient, clipping, Adam, a learning-rate schedule;
# - overfit one batch *before* you train, and know why;
# - recognise from its curves what is wrong with a run.
#
# It needs notebooks 3 and 4 (backward passes, attention). About 45 minutes to read; about a minute to run on two cores.

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
from minast import encoder, gradcheck, layers, metrics, optim, params, plots, scoring
from minast.datasets import open_dataset
from minast.datasets.synthetic import generate
from minast.training import batches
from minast.training.feature_cache import FeatureCache

# %% [markdown]
# ## One block
#
# An encoder block changes a sequence of $T$ tokens, each $D$ numbers wide, in two steps. First every token asks all the
# others (attention), then every token thinks for itself (a small network with one hidden layer, the *MLP*):
#
# $$x \leftarrow x + \mathrm{proj}(\mathrm{attention}(\mathrm{qkv}(\mathrm{norm}_1(x)))),\qquad
# x \leftarrow x + \mathrm{fc}_2(\mathrm{gelu}(\mathrm{fc}_1(\mathrm{norm}_2(x)))).$$
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


both = (encoder.block_forward, encoder.block_backward), (encoder.mlp_forward, encoder.mlp_backward)
for forward, backward in both:
    down, names = calls(forward, "forward")
    up, mirrored = calls(backward, "backward")
    assert names == mirrored[::-1]
    rows = [[f"`{a}`", f"`{b}`"] for a, b in zip(down, up[::-1], strict=True)]
    show.table(rows, ["forward, downwards", "backward, upwards"])

# %% [markdown]
# ## What a residual does to the gradient
#
# Let $y = x + f(x)$, and let $J$ be the matrix of derivatives of $f$, $J_{ij} = \partial f_i / \partial x_j$. A small
# change $\delta$ of $x$ changes $y$ by $\delta + J\delta$, so it changes the loss by
#
# $$\langle dy,\ \delta + J\delta\rangle = \langle dy + J^{\mathsf T} dy,\ \delta\rangle
# \quad\Longrightarrow\quad dx = dy + J^{\mathsf T} dy .$$
#
# $J^{\mathsf T}dy$ is what the branch's backward pass returns; the other $dy$ is the line `dh += dx` above. Through $L$
# branches the gradient is $(I + J_1^{\mathsf T})\cdots(I + J_L^{\mathsf T})\,dy$. Multiply out, and one of the $2^L$
# terms is $dy$ itself, untouched: however deep the network, its first block hears the loss. Without the residual only
# the last term is left, the product of all the $J$. We measure both on twelve blocks with random weights, of minast's
# smallest preset, *nano* (width 96, 3 heads): once with the backward pass as it is, once with the line `dh += dx` taken
# out of its two halves.

# %%
config = minast.ModelConfig.preset("nano", classes=10, frames=98, fstride=16, tstride=16)
twelve = minast.AST(config, backend="numpy", seed=0)
rng = np.random.default_rng(0)
x = rng.standard_normal((2, config.tokens, config.dim)).astype("float32")
caches = []
for w, _ in twelve.encoder.blocks:
    x, cache = encoder.block_forward(layers, x, w, config)
    caches.append(cache)


def without(line, *functions):
    """The last of these functions of minast/encoder.py with `line` taken out of all of them."""
    scope = dict(vars(encoder))
    for function in functions:
        exec(inspect.getsource(function).replace(line, ""), scope)
    return scope[functions[-1].__name__]


def gradient_lengths(dx, backward):
    """Length of the gradient at the input of each block, from the last block to the first."""
    out = [np.linalg.norm(dx)]
    for (w, dw), cache in zip(twelve.encoder.blocks[::-1], caches[::-1], strict=True):
        dx = backward(layers, dx, cache, w, dw, config)
        out.append(np.linalg.norm(dx))
    return np.array(out) / out[0]


no_residuals = without("    dh += dx\n", encoder.mlp_backward, encoder.block_backward)
dy = rng.standard_normal(x.shape).astype("float32")
with_residual, branches_only = gradient_lengths(dy, encoder.block_backward), gradient_lengths(dy, no_residuals)

# %%
fig, ax = plt.subplots(figsize=(9, 3))
ax.semilogy(range(13), with_residual, marker="o", label="with the residual")
ax.semilogy(range(13), branches_only, marker="o", label="without")
ax.set(
    xlabel="blocks passed on the way down",
    ylabel="length of the gradient,\nrelative to the top",
    title="How much of the loss the first block hears",
)
ax.legend()
ax.grid(alpha=0.3)
plt.show()
print(f"at the first block: {with_residual[-1]:.2f} with, {branches_only[-1]:.1e} without")
assert with_residual[-1] > 0.5 and branches_only[-1] < 1e-3

# %% [markdown]
# **Exercise 1.** Write the backward pass of the second half of a block, $y = x +
# \mathrm{fc}_2(\mathrm{gelu}(\mathrm{fc}_1(\mathrm{norm}(x))))$. `caches` is `(norm, fc1, gelu, fc2)`, one cache a
# layer; `dw` holds the gradients `norm2.weight`, `norm2.bias`, `mlp.fc1.weight`, `mlp.fc1.bias`, `mlp.fc2.weight`,
# `mlp.fc2.bias`. Use `layers.linear_backward(dy, cache, dw, db)`, `layers.gelu_backward(dy, cache)` and
# `layers.layernorm_backward(dy, cache, dw, db)`: they *add* to the gradients and return `dx`. Return the gradient of
# $x$.


# %%
def branch_backward(dy, caches, dw):
    """dx of y = x + fc2(gelu(fc1(norm(x)))); adds to dw."""
    ...  # your code: replace this line


# %%
check.branch_backward(branch_backward)

# %% [markdown]
# ## From blocks to a model
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
# **Exercise 2.** `block_weights(dim)`: the number of weights in one block of width `dim`, biases and norms included.


# %%
def block_weights(dim):
    """Weights in one block."""
    ...  # your code: replace this line


# %%
check.block_weights(block_weights)

# %% [markdown]
# ## One flat array
#
# A model of twelve blocks has 154 weight arrays. An optimizer (what turns a gradient into a step of the weights) that
# loops over them is slow and easy to get wrong. minast allocates **one** array, once, and hands out *views* of it by
# name. The gradients, and whatever else there is one of for each weight, have the same layout. So the optimizer is one
# call, the length of the gradient is one sum, and saving is one loop.

# %%
show.source(params.Views, params.zeros)

# %%
small = minast.ModelConfig.preset("nano", depth=4, fstride=16, tstride=16, frames=98, classes=10)
model = minast.AST(small, backend="fast", seed=0)
first = model.w["blocks.0.attn.qkv.weight"]
assert len(twelve.w) == 154
print(f"{len(model.w)} arrays, {model.parameters} weights, one flat array of {model.w.flat.size} numbers")
print("the view is part of it:", np.shares_memory(first, model.w.flat))
before = first[0, 0]
model.w.flat *= 2  # one statement changes every weight of the model
assert first[0, 0] == 2 * before
model.w.flat /= 2
gap = 1 - model.parameters / model.w.flat.size
print(f"alignment gaps: {gap:.2%} of the array, always zero")

# %%
start = {name: (view.ctypes.data - model.w.flat.ctypes.data) // 4 for name, view in model.w.items()}
kinds = {
    "attention": "attn",
    "MLP": "mlp.fc",
    "norms": "norm",
    "patches": "patch",
    "tokens and positions": "token|pos",
    "head": "mlp_head",
}
fig, ax = plt.subplots(figsize=(9, 1.8))
for colour, (kind, pattern) in zip(plt.cm.tab10.colors, kinds.items(), strict=False):
    spans = [(start[name], view.size) for name, view in model.w.items() if re.search(pattern, name)]
    ax.broken_barh(spans, (0, 1), color=colour, label=kind)
ax.set(
    xlabel="place in the flat array (numbers)",
    yticks=[],
    xlim=(0, model.w.flat.size),
    title=f"Four blocks of width {small.dim}: where each weight lies",
)
ax.legend(ncols=6, loc="upper center", bbox_to_anchor=(0.5, -0.45), fontsize=8)
plt.show()

# %% [markdown]
# Each array starts on a multiple of 256 bytes, 64 numbers of float32. A GPU reads memory in such blocks, and a vector
# instruction of a CPU likes whole ones too. The price is a small gap behind most biases.
#
# **Exercise 3.** `flat_offsets(sizes, step)`: arrays of `sizes` numbers are put one after the other, each starting at a
# multiple of `step`. Return the list of their starts, and the total length (also a multiple of `step`), as a tuple.


# %%
def flat_offsets(sizes, step):
    """(starts, total length)"""
    ...  # your code: replace this line


# %%
check.flat_offsets(flat_offsets)

# %% [markdown]
# ## Is the whole gradient right?
#
# Every layer was checked by itself. That does not check how they are put together: a forgotten residual has no layer to
# fail in. So the same check runs on the whole model, in float64: move all weights along a random direction, and compare
# the change of the loss with what the gradient promises. We do it for the real model, and once more with one line `dh
# += dx`, that of the attention half, forgotten.


# %%
def checked_gradient():
    config = minast.ModelConfig(dim=16, depth=3, heads=2, frames=32, mel_bins=32, classes=3, fstride=16, tstride=16)
    model = minast.AST(config, backend="numpy", seed=1, dtype="float64")
    rng = np.random.default_rng(2)
    model.w.flat += 0.1 * rng.standard_normal(model.w.flat.shape)  # biases that are not zero
    x, y = rng.standard_normal((2, 32, 32)), np.array([0, 2])
    model.zero_grad()
    model.loss_and_grad(x, y, "ce")
    w, dw = list(model.w.values()), list(model.dw.values())
    return gradcheck.directional(lambda: model.loss(model.forward(x), y, "ce"), w, dw, rng)


forgotten = without("    dh += dx\n", encoder.block_backward)
right = checked_gradient()
with mock.patch("minast.encoder.block_backward", forgotten):
    wrong = checked_gradient()
print("as it is:         ", right)
print("residual forgotten:", wrong)
assert right.error < 1e-7 and wrong.error > 0.8

# %% [markdown]
# ## Ten sounds
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
mean, std = cached.mean_std()
features = minast.FeatureConfig(frames=98, mean=mean, std=std)
print(
    f"{len(cached)} clips to learn from, {len(held_out)} held out; log-mel mean {mean:.2f}, deviation {std:.2f} (nats)"
)

fig, axes = plt.subplots(2, 5, figsize=(9, 3.6), dpi=75, sharex=True, sharey=True, layout="constrained")
for i, ax in enumerate(axes.flat):
    picture = ax.imshow(
        cached[i].T,
        origin="lower",
        aspect="auto",
        cmap=plt.get_cmap("magma", 20),
        vmin=-16,
        vmax=4,
        extent=(0, 0.98, 0, 128),
    )
    ax.set_title(data.labels[int(targets[i].argmax())], fontsize=9)
fig.supxlabel("time (s)", fontsize=9)
fig.supylabel("mel bin", fontsize=9)
fig.colorbar(picture, ax=axes, label="log power (nats)")
plt.show()

# %% [markdown]
# The model gets $(x - \mathrm{mean}) / (2\,\mathrm{std})$, with mean and deviation measured on the training clips:
# numbers around zero, of size about a half. Our model is the nano preset cut to four blocks, with patches that do not
# overlap: small enough to train while you read.
#
# ## Before the first step: the loss you should see
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
# ## One step: clip, then Adam
#
# The plainest step is $w \leftarrow w - \mathrm{lr}\,g$: downhill, by the *learning rate* lr times the gradient $g$. Two
# things are done to $g$ first.
#
# *Clipping.* If $|g|$, the length of the whole gradient, is larger than a limit, $g$ is shortened to it. One odd batch
# then cannot throw the weights far away.
#
# *Adam.* Gradients of different weights differ in size by orders of magnitude, and one rate cannot suit all. So Adam
# keeps two running means for each weight, its *moments*: of the gradient and of its square,
#
# $$m \leftarrow \beta_1 m + (1 - \beta_1)\,g,\qquad v \leftarrow \beta_2 v + (1 - \beta_2)\,g^2,\qquad
# w \leftarrow w - \mathrm{lr}\,\frac{m / (1 - \beta_1^t)}{\sqrt{v / (1 - \beta_2^t)} + \epsilon}.$$
#
# Both start at zero, and after $t$ steps of a constant $g$ they are $(1 - \beta^t)$ of what they should be: that is what
# the two divisors mend. A weight whose gradient keeps its sign moves by about lr a step, however small that gradient is;
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
# ## Overfit one batch
#
# Sixteen clips, the same ones in every step. A model of this size must be able to learn them by heart: the loss has to
# go to zero. If it does not, there is a mistake in the code, and no amount of data will help. The test takes seconds.
# One step is four lines: gradients to zero, loss and gradient, clip, Adam.

# %%
adam = optim.Adam(model.w.flat)
overfit = []
for _ in range(40):
    model.zero_grad()
    loss, logits = model.loss_and_grad(x, y, "ce")
    optim.clip_gradient(model.dw.flat, 1.0)  # a gradient longer than 1 is shortened to 1
    adam.step(model.dw.flat, lr=1e-3)
    overfit.append(loss)

fig, ax = plt.subplots(figsize=(9, 2.6))
ax.semilogy(overfit)
ax.axhline(math.log(10), color="gray", linestyle=":", label="ln 10: knows nothing")
ax.set(xlabel="step", ylabel="loss (nats)", title="Sixteen clips, learnt by heart")
ax.legend()
ax.grid(alpha=0.3)
plt.show()
print(f"loss {overfit[0]:.3f} -> {overfit[-1]:.4f}; {int((logits.argmax(1) == y.argmax(1)).sum())} of 16 right")
assert overfit[-1] < 0.1

# %% [markdown]
# That says the gradient points downhill and nothing is cut off. It says nothing about new sounds: see what the same
# model makes of clips that it has never heard.

# %%
info = minast.checkpoint.Info(features=features, labels=data.labels, loss="ce")
scores = scoring.clip_scores(model, info, held_out)
print(f"held out: {metrics.accuracy(scores, held_out_targets):.1%} of {len(held_out)} (guessing: 10 %)")

# %% [markdown]
# ## The learning rate over time
#
# Adam divides by the gradient's own recent size, so the first steps are as long as all others, though the model knows
# nothing yet. A *warm-up* keeps them short: the rate rises in a straight line. After it, the rate falls along
# half a cosine to zero, so that the last steps settle instead of jumping about.
#
# $$\mathrm{lr}(s) = \begin{cases} \mathrm{lr}_{\max}\,\dfrac{s + 1}{W} & s < W\\[2mm]
# \mathrm{lr}_{\max}\,\dfrac{1}{2}\left(1 + \cos\pi\dfrac{s - W}{S - W}\right) & s \ge W\end{cases}$$
#
# **Exercise 4.** `learning_rate(step, steps, lr, warmup)`, steps counted from 0, for $S$ `steps` and $W$ `warmup`
# steps.


# %%
def learning_rate(step, steps, lr, warmup):
    """Linear warm-up, then half a cosine."""
    ...  # your code: replace this line


# %%
check.learning_rate(learning_rate)

# %% [markdown]
# ## The training loop
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
recipe = minast.TrainConfig(epochs=5, batch=16, lr=1e-3, warmup=60)
model = minast.AST(small, backend="fast", seed=0)
losses, history = train(model, recipe)

# %% [markdown]
# The left picture is what to look at first: training and held-out loss fall together. When the held-out loss turns
# upwards while the training loss goes on falling, the model has begun to learn its clips by heart, as above.

# %%
fig, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
plots.draw_learning_curves(axes, history)
plt.show()
final = history[-1]["accuracy"]
error = math.sqrt(final * (1 - final) / len(held_out))
print(f"held out: {final:.1%}, plus or minus {error:.1%} (one standard error of a share of {len(held_out)} clips)")
assert final > 0.6

# %% [markdown]
# Which sounds does it take for which? A *confusion matrix* counts: rows are what the clip is, columns what the model
# says. Right answers lie on the diagonal.

# %%
scores = scoring.clip_scores(model, info, held_out)
matrix = metrics.confusion_matrix(scores, held_out_targets.argmax(axis=1))
fig, ax = plt.subplots(figsize=(6.5, 5), layout="constrained")
fig.colorbar(plots.draw_confusion(ax, matrix, data.labels), label="share of the true class")
plt.show()
off = matrix - np.diag(np.diag(matrix))
a, b = np.unravel_index(off.argmax(), off.shape)
print(f"most frequent mistake: {data.labels[a]} taken for {data.labels[b]}, {off[a, b]} of {matrix[a].sum()} clips")

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
# ## Reading a failure
#
# Training rarely stops with an error message. It goes on and learns nothing, or less than it could. The best place to
# look is the one-batch test again: it takes seconds, and nothing but a mistake can keep the loss up. Here it runs once
# as it should be, and six times with one thing wrong. Every run starts from the same weights and sees the same 16
# clips.


# %%
def one_batch(lr=1e-3, clip=1.0, sign=1, scale=lambda x: x, before=lambda model: None, steps=30):
    """The one-batch test with one thing changed (clip=0: none). -> losses, length of each block's first gradient"""
    model = minast.AST(small, backend="fast", seed=0)
    before(model)
    x, y = batch_of(np.arange(16))
    adam, losses = optim.Adam(model.w.flat), []
    for step in range(steps):
        model.zero_grad()
        losses.append(model.loss_and_grad(scale(x), y, "ce")[0])
        if step == 0:
            squares = [sum(np.sum(g**2) for g in dw.values()) for _, dw in model.encoder.blocks]
        optim.clip_gradient(model.dw.flat, clip)
        adam.step(sign * model.dw.flat, lr * min(1, (step + 1) / 10))
    return np.array(losses), np.sqrt(squares)


def dead_head(model):
    """The whole head at zero, its norm as well."""
    for name, weights in model.w.items():
        if name.startswith("mlp_head"):
            weights[...] = 0


def raw(x):
    """The log-mel as it was before normalisation: about -7, and down to -16."""
    return x * (2 * std) + mean


with np.errstate(all="ignore"):  # some of them overflow
    runs = {
        "as it should be": one_batch(),
        "rate too high": one_batch(lr=0.3, clip=0),
        "rate too low": one_batch(lr=1e-5),
        "wrong sign": one_batch(sign=-1),
        "dead head": one_batch(before=dead_head),
        "input not normalised": one_batch(scale=raw),
    }
    with mock.patch("minast.encoder.block_backward", forgotten):
        runs["residual forgotten"] = one_batch()

# %%
fig, axes = plt.subplots(2, 3, figsize=(9, 4.8), sharex=True, layout="constrained")
good = runs["as it should be"][0]
for ax, (name, (loss, _)) in zip(axes.flat, list(runs.items())[1:], strict=True):
    ax.plot(good, color="silver", linewidth=3, label="as it should be")
    ax.plot(loss, color="tab:red", label="with the mistake")
    ax.axhline(math.log(10), color="gray", linestyle=":", label="ln 10")
    ax.set_title(name, fontsize=10)
    ax.grid(alpha=0.3)
axes[0, 0].legend(fontsize=8)
fig.supxlabel("step", fontsize=9)
fig.supylabel("loss on one batch (nats)", fontsize=9)
plt.show()
rows = [[name, f"{loss[0]:.3f}", f"{loss[-10:].mean():.3f}"] for name, (loss, _) in runs.items()]
show.table(rows, ["run", "first loss", "mean of the last ten"])

# %% [markdown]
# Read them one by one.
#
# - **Rate too high.** The loss leaps above $\ln K$ within a few steps, jumps about, and at best comes back to $\ln K$:
#   the weights have been thrown somewhere from where nothing is learnt. Divide the rate by ten.
# - **Rate too low.** A clean, slow fall. Nothing is broken; multiply the rate by ten until it is not clean any more.
# - **Wrong sign.** The loss *climbs without a break*. A rate that is too high jumps; only a step uphill climbs.
# - **Dead head.** The loss is $\ln K$ and stays there: the output does not depend on the input. Here every factor of
#   the head is zero, so each gradient contains another factor that is zero; only the last bias can move. (These 16
#   clips are not spread evenly over the classes, and the bias learns that: a fall of a hundredth is no learning.)
# - **Input not normalised.** It learns, but later and not smoothly. All patches share one large offset, the mean of -7,
#   which outweighs what differs between them. Look at the first loss and the first steps, not at the last ones.
# - **Residual forgotten.** *You would not notice.* The curve is a little late and ends at the same place: Adam makes a
#   full step out of any gradient, and a model of this size learns 16 clips by heart even along wrong directions. No
#   curve replaces the gradient check, which said above that nine tenths of the derivative were missing.
#
# Besides the check, the length of the gradient block by block shows the last one: as it should be, it grows a little
# towards the input; with the residual forgotten it fades. (The dead head's bars have no height: all are zero.)

# %%
fig, ax = plt.subplots(figsize=(9, 2.8))
shown = ("as it should be", "residual forgotten", "dead head")
for i, name in enumerate(shown):
    ax.bar(np.arange(small.depth) + 0.27 * (i - 1), runs[name][1], 0.25, label=name)
ax.set(
    xlabel="block (0: next to the input)",
    ylabel="length of the gradient",
    xticks=range(small.depth),
    title="The first gradient, block by block",
)
ax.legend()
plt.show()
for name in shown:
    print(f"{name:20s}", "  ".join(f"{length:.3f}" for length in runs[name][1]))
assert runs["dead head"][1].max() == 0
assert runs["residual forgotten"][1][0] < runs["residual forgotten"][1][-1] / 2
assert runs["as it should be"][1][0] > runs["as it should be"][1][-1]
assert runs["wrong sign"][0][-1] > 5 and runs["rate too high"][0].max() > 4
assert abs(runs["dead head"][0][-1] - math.log(10)) < 0.05
assert runs["residual forgotten"][0][-1] < 0.2  # it does fit the batch, wrong as it is

# %% [markdown]
# **Exercise 5.** Write `diagnose(losses, classes)`, which reads a list of training losses and returns one word:
#
# - `"diverged"` if any loss is NaN or infinite, or if the mean of the last ten is above $1.5 \ln K$;
# - else `"stuck"` if the mean of the last ten is above $0.95 \ln K$;
# - else `"learns"`.


# %%
def diagnose(losses, classes):
    """One word: diverged, stuck or learns."""
    ...  # your code: replace this line


# %%
check.diagnose(diagnose)

# %% [markdown]
# ## What to remember
#
# - Backward is forward's lines in reverse order, each with its own cache. What is added forward passes the gradient on
#   untouched backward: the residual is why a deep network can be trained.
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
