# %% [markdown]
# # 6. From ViT to AST
#
# AST's point is a surprise: a transformer that has learnt to look at pictures hears better than one that starts from
# random weights. A spectrogram is a picture, after all, but not quite: it has no colours, it is not square, and its
# classes are others. After this notebook you can
#
# - read the weights of a *vision transformer* (ViT) from the official `.npz`, and put each array in its place;
# - merge colour filters, and say why the sum is right and the mean is not the same thing;
# - cut and stretch a square grid of positions to the shape of a spectrogram;
# - check every step with a number, and the whole with one identity;
# - fine-tune with and without the pretrained weights, and say how sure the difference is.
#
# It needs notebook 5. About 45 minutes to read; about a minute to run on two cores.
#
# **Your own weights, your own sounds.** Without anything, the notebook makes a small ViT and uses the built-in sounds.
# Set `MINAST_VIT` to any ViT `.npz` in the official layout, and `MINAST_CLIPS` to a folder of recordings with one
# sub-folder per class, *before* Jupyter starts. With a large ViT the last part takes several minutes.
#
# ```bash
# MINAST_VIT=ViT-B_16.npz MINAST_CLIPS=my_sounds/ jupyter lab
# ```

# %%
import math
import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import minast
import show
import small_vit
from exercises import vit_to_ast as check
from minast import metrics, optim, pretrained, scoring
from minast.datasets import open_dataset
from minast.pretrained import adapt
from minast.pretrained.layouts import jax
from minast.pretrained.readers import npz
from minast.training import batches, linear_probe
from minast.training.feature_cache import FeatureCache

given_vit, given_clips = os.environ.get("MINAST_VIT"), os.environ.get("MINAST_CLIPS")
folder = tempfile.TemporaryDirectory()

# %% [markdown]
# ## A transformer that looks at pictures
#
# A ViT cuts a square colour picture into patches of 16 x 16 pixels and treats them as notebook 2 treats a
# spectrogram's. Its encoder *is* AST's encoder. So a ViT costs a few lines: the same class with another first layer, in
# which a patch has three colours, $3 \cdot 256$ numbers.

# %%
show.source(small_vit.ViT, small_vit.colour_patches)

# %% [markdown]
# Real ViTs learnt from millions of photographs. Ours has some seconds, so it gets drawings: ten kinds of figure in
# random colours, at random places, over noise. No sound is involved. The figures are chosen to look a little like what
# one sees in spectrograms, as photographs also have lines and edges; keep that in mind when you read the result at the
# end.

# %%
SIDE = 112
drawn, kinds = small_vit.pictures(10, SIDE, np.random.default_rng(3))
fig, axes = plt.subplots(2, 5, figsize=(9, 4), dpi=75, layout="constrained")
coarse = drawn.reshape(10, SIDE // 2, 2, SIDE // 2, 2, 3).mean(axis=(2, 4))  # half as large, to keep the file small
for i, k in enumerate(np.argsort(kinds)):
    ax = axes.flat[i]
    ax.imshow(np.round(16 * np.clip(coarse[k] / 3 + 0.5, 0, 1)) / 16)
    ax.set_title(small_vit.LABELS[kinds[k]], fontsize=9)
    ax.set(xticks=[], yticks=[])
plt.show()


# %% [markdown]
# Pretraining: the loop of notebook 5, with fresh drawings in every step.


# %%
def pretrain(steps=200, batch=32):
    """A small ViT that tells the drawings apart. -> model, loss of each step"""
    config = small_vit.square(SIDE, dim=64, depth=4, heads=2, classes=len(small_vit.LABELS))
    model, losses = small_vit.ViT(config, seed=0), []
    adam = optim.Adam(model.w.flat, weight_decay=0.05, decoupled=True)
    for step in range(steps):
        x, y = small_vit.pictures(batch, SIDE, np.random.default_rng([1, step]))
        model.zero_grad()
        losses.append(model.loss_and_grad(x, y, "ce")[0])
        optim.clip_gradient(model.dw.flat, 1.0)
        adam.step(model.dw.flat, optim.cosine(step, steps, 1e-3, warmup=30))
    return model, losses


if given_vit:
    path = given_vit
else:
    vit, losses = pretrain()
    x, y = small_vit.pictures(300, SIDE, np.random.default_rng(99))
    accuracy = metrics.accuracy(vit.forward(x), y)
    print(f"{vit.parameters} weights; new drawings: {accuracy:.1%} right (guessing: 10 %)")
    assert accuracy > 0.5
    path = str(Path(folder.name) / "small_vit.npz")
    np.savez(path, **small_vit.official_arrays(vit))
    fig, ax = plt.subplots(figsize=(9, 2.4))
    ax.plot(losses)
    ax.axhline(math.log(10), color="gray", linestyle=":", label="ln 10: knows nothing")
    ax.set(xlabel="step", ylabel="loss (nats)", title="Pretraining on drawings")
    ax.legend()
    plt.show()

# %% [markdown]
# From here on there is only a file in the official layout, `path`: ours or yours.
#
# ## Step 1: read
#
# A `.npz` is a zip of arrays. minast's reader looks at names and shapes first, and fetches one array at a time: a ViT
# of 330 MB never lies in memory twice. It reads numbers only. An array of pickled Python objects, which could run code
# when loaded, is refused by name.

# %%
file = npz.NpzFile(path)
layout = jax.jax_layout(file)
if layout is None:
    raise minast.Error(f"{path}: this is no ViT .npz in the official layout.")
layout.check(file)  # every array is there and has the right shape
vit = small_vit.read_vit(path)  # the image model, as it was
print(f"{layout.kind}: {layout.dim} wide, {layout.depth} blocks, {layout.heads} heads, {len(file.shapes)} arrays")
first = [name for name in file.shapes if "encoderblock" not in name or "encoderblock_0/" in name]
show.table([[f"`{name}`", str(file.shapes[name])] for name in first], ["array", "shape"])

# %% [markdown]
# The official weights were written by JAX, another array library, and two of its habits differ from minast's, which
# keeps PyTorch's. A layer's matrix, there called *kernel*, is (in, out): $y = xK$ where we
# write $y = xW^{\mathsf T}$. And attention kernels keep the heads apart: the query of head $h$ is $q_{h,d} = \sum_c
# x_c\,K_{c,h,d}$. In our layout row $h \cdot d_{\mathrm{head}} + d$ of $W$ makes that number from all $c$, so
#
# $$W_{(h,d),\,c} = K_{c,h,d}:\qquad \text{reshape } (D, H, d) \to (D, H d),\ \text{then transpose.}$$
#
# Transposing first would mix the heads without any other sign: all shapes would still fit.
#
# **Exercise 1.** `to_linear(kernel)`: from a query kernel `(D, H, d)` to a linear layer's weight `(H d, D)`.


# %%
def to_linear(kernel):
    """(D, H, d) -> (H d, D)"""
    ...  # your code: replace this line


# %%
check.to_linear(to_linear)

# %% [markdown]
# minast describes each weight as parts of the file and a way to arrange them; query, key and value go under each other.
# The check: queries made with the file's own kernel, by its own formula, against ours.

# %%
show.source(jax._block)

# %%
block, at = layout.parts, "blocks.0.attn.qkv.weight"
ours = np.concatenate([part.arrange(file.read(part.source)) for part in block[at]])  # (3 D, D)
kernels = [file.read(part.source) for part in block[at]]  # (D, H, d) each
x = np.random.default_rng(0).standard_normal((5, layout.dim)).astype("float32")
theirs = np.concatenate([np.einsum("tc,chd->thd", x, kernel).reshape(5, -1) for kernel in kernels], axis=1)
gap = np.abs(x @ ours.T - theirs).max()
print(f"largest difference {gap:.1e}, numbers up to {np.abs(theirs).max():.2f}")
assert gap < 1e-4 * np.abs(theirs).max()

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), dpi=75, width_ratios=(1, 1.3), layout="constrained")
limit = 3 * ours.std()
for ax, picture, title in (
    (axes[0], kernels[0].reshape(layout.dim, -1), f"the file: query kernel, {layout.heads} heads side by side"),
    (axes[1], ours, "minast: queries, keys, values, one under the other"),
):
    image = ax.imshow(picture, cmap="RdBu", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest")
    ax.set_title(title, fontsize=9)
axes[0].set(xlabel="output: head, place in it", ylabel="input channel")
axes[1].set(xlabel="input channel", ylabel="output")
fig.colorbar(image, ax=axes, label="weight")
plt.show()
assert np.array_equal(ours[: layout.dim], kernels[0].reshape(layout.dim, -1).T)

# %% [markdown]
# The left picture, turned on its side, is the upper third of the right one: the queries. Keys and values follow below.
#
# ## Step 2: three colours become one
#
# A patch filter of the ViT has three slices, $w_R, w_G, w_B$, and answers a patch with $\langle w_R, x_R\rangle +
# \langle w_G, x_G\rangle + \langle w_B, x_B\rangle$. A spectrogram has one channel $s$. Show it to the ViT as a grey
# picture, $x_R = x_G = x_B = s$, and the answer is
#
# $$\langle w_R, s\rangle + \langle w_G, s\rangle + \langle w_B, s\rangle = \langle w_R + w_G + w_B,\ s\rangle .$$
#
# So the **sum** of the slices is *exactly* the image model looking at a grey picture. The AST paper says "average"; the
# official code sums. The average is a third of the sum, and the image model never saw pictures with a third of the
# contrast.
#
# **Exercise 2.** `merge_colours(filters)`: from filters `(D, C, 16, 16)` to `(D, 256)`, by the sum.


# %%
def merge_colours(filters):
    """(D, C, 16, 16) -> (D, 256)"""
    ...  # your code: replace this line


# %%
check.merge_colours(merge_colours)

# %%
filters = layout.patch.arrange(file.read(layout.patch.source))  # (D, 3, 16, 16)
by_sum, by_mean = adapt.merge_rgb(filters, "sum"), adapt.merge_rgb(filters, "mean")
patch = np.random.default_rng(1).standard_normal((16, 16)).astype("float32")
grey = np.stack([patch] * filters.shape[1])  # three equal channels
colour = np.einsum("dcij,cij->d", filters, grey)
gap = np.abs(colour - by_sum @ patch.ravel()).max()
print(f"the ViT on the grey patch, against the sum: largest difference {gap:.1e}")
print(f"the ViT's answer over that of the mean: {np.median(colour / (by_mean @ patch.ravel())):.4f}")
assert gap < 1e-4 * np.abs(colour).max()
assert np.allclose(colour, filters.shape[1] * (by_mean @ patch.ravel()), atol=1e-4 * np.abs(colour).max())

# %%
fig, axes = plt.subplots(2, 10, figsize=(9, 2.2), layout="constrained")
strongest = np.argsort(-np.abs(by_sum).sum(axis=1))[:10]
for column, d in zip(axes.T, strongest, strict=True):
    rgb = filters[d].transpose(1, 2, 0)
    column[0].imshow(np.clip(0.5 + rgb / (4 * rgb.std()), 0, 1))
    column[1].imshow(by_sum[d].reshape(16, 16), cmap="gray")
    for ax in column:
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("before:\ncolour", fontsize=8)
axes[1, 0].set_ylabel("after:\nsum", fontsize=8)
fig.suptitle("The ten strongest patch filters, 16 x 16 pixels each", fontsize=10)
plt.show()

# %% [markdown]
# Our small ViT's filters still look like the noise they began as: some seconds of training move them little. With
# weights from photographs, as `MINAST_VIT`, look for edges and spots, and for what the sum does to filters that answer
# to colour alone.
#
# Does a factor of three matter? A token is *what* is in a patch plus *where* it is. Merged by the mean, the "what"
# enters three times weaker, while bias and positions stay. We compare the spread of the two over random patches with a
# deviation of a half, which is what AST feeds.

# %%
position = layout.positions.arrange(file.read(layout.positions.source))[layout.position_prefix :]
patches = 0.5 * np.random.default_rng(2).standard_normal((500, 256)).astype("float32")
where = (position - position.mean(axis=0)).std()
for name, merged in (("sum", by_sum), ("mean", by_mean)):
    print(f"{name:4s}: what / where = {(patches @ merged.T).std() / where:.2f}")

# %% [markdown]
# With the sum, the blocks meet *what* and *where* in the proportion of the grey pictures that they can deal with. With
# the mean, every block gets a proportion that it was never trained on.
#
# ## Step 3: a square grid becomes a long one
#
# A ViT learnt one vector for each place of its square grid and adds it to the patch there. That is all it knows of
# *where*: without it a picture would be a bag of patches. What do the vectors say? Take one place and draw the *cosine
# similarity*, $\langle a, b\rangle / (|a||b|)$, of its vector with all others: neighbours are alike (red).


# %%
def similarity(grid, row, column):
    """Cosine of the vector at one place with every other.   grid (f, t, D) -> (f, t)"""
    unit = grid - grid.mean(axis=(0, 1))  # what all places have in common says nothing about place
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    return unit @ unit[row, column]


def draw_similarity(grid, title, places=5):
    """Maps for places along the diagonal of the grid."""
    f, t, _ = grid.shape
    fig, axes = plt.subplots(1, places, figsize=(9, 2.4), layout="constrained")
    for i, ax in enumerate(axes):
        row, column = round(i * (f - 1) / (places - 1)), round(i * (t - 1) / (places - 1))
        image = ax.imshow(similarity(grid, row, column), vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
        ax.plot(column, row, "k+", markersize=10)
        ax.set(xlabel="column (patch)", xticks=range(0, t, 2), yticks=range(0, f, 2))
        ax.label_outer()
    axes[0].set_ylabel("row (patch)")
    fig.colorbar(image, ax=axes, label="cosine similarity")
    fig.suptitle(title, fontsize=10)
    plt.show()


side = adapt.square_grid(len(position), 0)
square = position.reshape(*side, -1)
draw_similarity(square, f"before: the ViT's {side[0]} x {side[1]} grid, five places (+) against all")

# %% [markdown]
# (Our small ViT began with sines and cosines of row and column, which `init.positions` makes, and had some seconds to
# change them. Published ViTs began with random vectors and learnt such maps from nothing.)
#
# A spectrogram of 128 mel bins and 98 frames has 12 x 9 patches at AST's stride of 10. Each axis is fitted by itself.
# Where the new grid is *smaller*, its middle is cut out: neighbours stay neighbours. Where it is *larger*, the vectors
# between are interpolated. New place $i$ of $m$ lies at
#
# $$s = \frac{(i + \frac{1}{2})\,n}{m} - \frac{1}{2}$$
#
# of $n$ old places: both grids cover the same stretch, and a place is the *middle* of its cell. Its vector is mixed
# from the two old ones around $s$, and outside the first and last middle it is theirs.

# %%
show.source(adapt.cut_middle, adapt.stretch, adapt.resize_grid)

# %% [markdown]
# **Exercise 3.** `stretch_row(values, size)`: from $n$ numbers to `size` numbers by this rule. (`np.interp(s, places,
# values)` interpolates linearly and holds the ends.)


# %%
def stretch_row(values, size):
    """(n,) -> (size,)"""
    ...  # your code: replace this line


# %%
check.stretch_row(stretch_row)

# %% [markdown]
# **Exercise 4.** `middle(n, size)`: the slice of `range(n)` that is kept when `size <= n`, as a tuple (first, one past
# the last). The official code begins at `n // 2 - size // 2`; where `n` is even and `size` odd, that is not
# `(n - size) // 2`, and weights that were trained with one are shifted by a patch under the other.


# %%
def middle(n, size):
    """(first, one past the last)"""
    ...  # your code: replace this line


# %%
check.middle(middle)

# %% [markdown]
# To see both at once, take AST's own case: a ViT of 24 x 24 patches becomes 12 x 101 for ten seconds. Instead of learnt
# vectors each place carries its own coordinates, so that afterwards it says where it came from.

# %%
coordinates = np.stack(np.mgrid[0:24, 0:24], axis=-1).astype(float)  # (24, 24, 2): row, column
long = adapt.resize_grid(coordinates, (12, 101))
fig, axes = plt.subplots(2, 2, figsize=(9, 4), width_ratios=(1, 3), layout="constrained")
for i, name in enumerate(("row", "column")):
    for ax, grid in zip(axes[i], (coordinates, long), strict=True):
        image = ax.imshow(grid[..., i], vmin=0, vmax=23, aspect="auto")
        ax.set(xlabel="time (patch)", ylabel="frequency (patch)")
    fig.colorbar(image, ax=axes[i], label=f"{name} it came from")
axes[0, 0].set_title("before: 24 x 24", fontsize=10)
axes[0, 1].set_title("after: 12 x 101", fontsize=10)
plt.show()
assert long[:, 0, 0].tolist() == list(range(6, 18))  # frequency: cut from the middle
assert np.allclose(np.diff(long[0, 3:-3, 1]), 24 / 101)  # time: equal steps
assert np.allclose(long[..., 1], long[:1, :, 1])  # and each axis by itself

# %% [markdown]
# Now ours, for the model that will hear.

# %%
data = open_dataset(given_clips or "builtin", seed=0)
frames, stride = 98, 10
options = {"classes": len(data.labels), "frames": frames, "fstride": stride, "tstride": stride}
config = minast.ModelConfig(dim=layout.dim, depth=layout.depth, heads=layout.heads, **options)
stretched = adapt.resize_grid(square, config.grid)
print(f"positions {square.shape} -> {stretched.shape}")
draw_similarity(stretched, f"after: {config.grid[0]} x {config.grid[1]} patches, frequency by time")

# %% [markdown]
# The order of tokens fits without a change: the ViT counts along a row first, AST along time first, and a picture's row
# becomes a spectrogram's row of one frequency. (Which end of it is up does not matter to the copy: bin 0 takes the top
# row.)
#
# ## Step 4: prefix tokens
#
# In front of the patches stands [CLS], a learnt vector that belongs to no patch and collects what the head reads. It
# has a position of its own, the first row, which belongs to no grid and must stay untouched. DeiT, which the published
# AST started from, has a second such token; a ViT has one, and we do not invent another. Taking the wrong number shifts
# *every* position by one patch. The counts betray it, since what is left must be a square.

# %%
rows = layout.positions.arrange(file.read(layout.positions.source))
for prefix in (layout.position_prefix, layout.position_prefix + 1):
    try:
        print(f"{prefix} in front:", adapt.square_grid(len(rows), prefix))
    except minast.Error as error:
        print(f"{prefix} in front: {error}")

adapted = adapt.adapt_positions(rows, layout.position_prefix, side, config.grid)
assert np.array_equal(adapted[: layout.position_prefix], rows[: layout.position_prefix])  # [CLS]: as it was
fig, axes = plt.subplots(2, 1, figsize=(9, 3.2), layout="constrained")
for ax, pos, title in ((axes[0], rows, "before"), (axes[1], adapted, "after")):
    lengths = np.linalg.norm(pos, axis=1)
    ax.bar(range(len(pos)), lengths, color="silver", width=0.9)
    ax.bar(range(layout.position_prefix), lengths[: layout.position_prefix], color="tab:red", label="[CLS]")
    ax.set(ylabel="length of vector", xlim=(-1, len(pos)), title=f"{title}: positions of {len(pos)} tokens")
axes[1].set_xlabel("token")
axes[0].legend(loc="lower right")
plt.show()

# %% [markdown]
# (Our [CLS] row is hardly visible: it began at zero, while the others began as sines and cosines.)
#
# ## All of it in one line, and one identity
#
# `minast.from_pretrained` does the steps above. Its report says what became of every array.

# %%
model = minast.from_pretrained(path, **options)
print(model.report)
assert np.array_equal(model.w["blocks.0.attn.qkv.weight"], ours)
assert np.array_equal(model.w["patch_embed.proj.weight"], by_sum)
assert np.array_equal(model.w["pos_embed"][1:], stretched.reshape(-1, layout.dim))

# %% [markdown]
# Is it right as a whole? Ask for an AST with the ViT's own square grid, so that no position has to move. Then AST on a
# one-channel picture must give **the same tokens** as the ViT on that picture in grey. One number checks names,
# layouts, order of heads, order of tokens, colours and norms at once. And it tells sum from mean.

# %%
pixels = 16 * side[0]
picture = 0.5 * np.random.default_rng(4).standard_normal((1, pixels, pixels)).astype("float32")  # height, width
expected = vit.encode(np.repeat(picture[..., None], vit.colours, axis=-1))  # (1, 1 + g g, D)
for how in ("sum", "mean"):
    same = minast.from_pretrained(path, classes=2, frames=pixels, mel_bins=pixels, fstride=16, tstride=16, rgb=how)
    tokens = same.encode(picture.swapaxes(1, 2))  # AST takes (time, frequency)
    gap = np.abs(tokens - expected).max() / np.abs(expected).max()
    print(f"{how:4s}: largest difference of a token from the ViT's, relative to the largest number: {gap:.1e}")
    assert (gap < 1e-3) == (how == "sum")

# %% [markdown]
# ## Step 5: a new head
#
# The ViT's classes are gone; the new head is a norm and a random linear layer. Until it is trained its answers mean
# nothing, and the loss is near $\ln K$. So minast first fits the head alone to the features as they are (a *linear
# probe*): one pass of the clips through the encoder, then a small regression. This is also the first honest question to
# pretrained weights: how much can be *read off* what they already compute?
#
# The data: few clips, as it is when one needs pretrained weights. The held-out ones are never trained on.

# %%
large = layout.dim > 128  # a ViT of the reader's: less of everything
PER_CLASS, HELD_OUT = (8, 100) if large else (16, 300)
features = minast.FeatureConfig(frames=frames)
rng = np.random.default_rng(0)
train = data.of("train")
order = rng.permutation(len(train))
chosen = [i for k in range(len(data.labels)) for i in [j for j in order if train[j].labels == (k,)][:PER_CLASS]]
train_clips = [train[i] for i in chosen]
held = data.of(data.validation_split)
held_clips = [held[i] for i in sorted(rng.permutation(len(held))[:HELD_OUT])]
cached, held_out = (FeatureCache(clips, features, cache=False, quiet=True) for clips in (train_clips, held_clips))
targets, held_targets = data.targets(train_clips), data.targets(held_clips)
mean, std = cached.mean_std()
features = minast.FeatureConfig(frames=frames, mean=mean, std=std)
info = minast.checkpoint.Info(labels=data.labels, features=features)
print(f"{len(cached)} clips to learn from, {len(held_out)} held out, {len(data.labels)} classes")


# %%
def right_answers(model):
    """Which held-out clips the model names rightly.   -> (n,) of True and False"""
    return scoring.clip_scores(model, info, held_out).argmax(axis=1) == held_targets.argmax(axis=1)


def draw_probabilities(ax, model, title):
    """What the model says about the first held-out clip."""
    clip = scoring.clip_scores(model, info, [held_out[0]])[0]
    ax.bar(range(len(clip)), clip, color=["tab:green" if t else "silver" for t in held_targets[0]])
    ax.set_xticks(range(len(clip)), data.labels, rotation=60, ha="right", fontsize=8)
    ax.set(ylim=(0, 1), ylabel="probability")
    ax.set_title(title, fontsize=10)


fresh = minast.AST(config, seed=0)  # the same architecture, random weights
fig, axes = plt.subplots(1, 2, figsize=(9, 3), sharey=True, layout="constrained")
draw_probabilities(axes[0], model, "before: random head")
untrained = right_answers(model).mean()
probed = {}
for name, start in (("pretrained", model), ("random", fresh)):
    linear_probe.fit_linear_probe(start, cached, targets, features, "ce")
    probed[name] = right_answers(start)
draw_probabilities(axes[1], model, "after: head fitted, encoder untouched")
fig.suptitle("What the model says about one held-out clip (green: what the clip is)", fontsize=10)
plt.show()
print(
    f"random head {untrained:.1%}; head fitted: pretrained encoder {probed['pretrained'].mean():.1%}, "
    f"random encoder {probed['random'].mean():.1%}"
)

# %% [markdown]
# One clip is an example, and the likeliest class may still be a wrong one there. The answer is the share of all held-out
# clips that are named rightly. A random encoder is not worth nothing: random features of a spectrogram can be told
# apart, too. That is why the comparison needs both numbers, not the first alone.
#
# ## Fine-tuning, with and without
#
# Now everything moves: the same loop, the same batches, the same rate, twice, with two seeds each. The only difference
# is where the weights begin.


# %%
def fine_tune(model, seed, epochs, lr):
    """The loop of notebook 5. -> held-out accuracy after each second epoch, right answers at the end"""
    recipe = minast.TrainConfig(epochs=epochs, batch=16, lr=lr, warmup=20, seed=seed)
    per_epoch = batches.steps_per_epoch(len(cached), recipe.batch)
    adam = optim.Adam(model.w.flat, weight_decay=recipe.weight_decay, decoupled=True)
    curve = []
    for step in range(epochs * per_epoch):
        epoch, at = divmod(step, per_epoch)
        chosen = batches.order(len(cached), recipe, epoch)[at * recipe.batch : (at + 1) * recipe.batch]
        x, y = batches.training_batch(cached, targets, chosen, features, recipe, epoch, at)
        model.zero_grad()
        model.loss_and_grad(x, y, "ce")
        optim.clip_gradient(model.dw.flat, recipe.max_grad_norm)
        adam.step(model.dw.flat, optim.schedule(recipe, step, per_epoch))
        if at == per_epoch - 1 and epoch % 2:
            answers = right_answers(model)
            curve.append(answers.mean())
    return curve, answers


epochs, lr, seeds = (4, 1e-4, (0,)) if large else (8, 1e-3, (0, 1))
curves, right = {"pretrained": [], "random": []}, {"pretrained": [], "random": []}
for seed in seeds:
    starts = {"pretrained": pretrained.load(path, seed=seed, **options)[0], "random": minast.AST(config, seed=seed)}
    for name, start in starts.items():
        curve, answers = fine_tune(start, seed, epochs, lr)
        curves[name].append(curve)
        right[name].append(answers)

# %%
fig, ax = plt.subplots(figsize=(9, 3.2))
for name, colour in (("pretrained", "tab:blue"), ("random", "tab:orange")):
    for seed, curve in zip(seeds, curves[name], strict=True):
        ax.plot(range(2, epochs + 1, 2), curve, marker="o", color=colour, label=f"{name}, seed {seed}")
ax.axhline(1 / len(data.labels), color="gray", linestyle=":", label="guessing")
ax.set(xlabel="epoch", ylabel="held-out accuracy", ylim=(0, 1), title=f"Fine-tuning on {len(cached)} clips")
ax.legend(fontsize=8, ncols=2)
ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## How sure is the difference?
#
# Both models answer the *same* clips. So look at the difference clip by clip: $d_i = a_i - b_i$, where $a_i$ and $b_i$
# are 1 for a right answer and 0 for a wrong one. A clip that both know, or neither, says nothing about the difference.
# The mean of $d$ is the difference of the accuracies, and its standard error is the deviation of $d$ over $\sqrt n$. If
# there were no difference, other clips drawn in the same way would show a mean beyond two standard errors about once in
# twenty times. So that is the usual bar.
#
# **Exercise 5.** `paired(a, b)`: two arrays of True and False, one entry a clip. Return the mean of the differences and
# its standard error, with the deviation divided by $n$ (`np.std` as it is).


# %%
def paired(a, b):
    """(mean of a - b, its standard error)"""
    ...  # your code: replace this line


# %%
check.paired(paired)

# %%
rows = [["head only"] + [f"{probed[name].mean():.1%}" for name in ("pretrained", "random")]]
rows += [
    [f"all weights, seed {seed}"] + [f"{right[name][i].mean():.1%}" for name in ("pretrained", "random")]
    for i, seed in enumerate(seeds)
]
show.table(rows, ["trained", "from the ViT", "from random weights"])
for seed, a, b in zip(seeds, right["pretrained"], right["random"], strict=True):
    d = a.astype(float) - b
    error = d.std() / math.sqrt(len(d))
    beyond = abs(d.mean()) > 2 * error
    verdict = "beyond two errors: hardly the choice of clips" if beyond else "within two errors: it may be chance"
    print(f"seed {seed}: pretrained {100 * d.mean():+.1f} points, standard error {100 * error:.1f} ({verdict})")
    if not (given_vit or given_clips):
        assert d.mean() > 2 * error

# %% [markdown]
# With the notebook's own small ViT the difference is large. Do not carry the number elsewhere:
#
# - the drawings were made by someone who knew spectrograms: lines, waves, strokes and dashes are in both;
# - the pretrained model has had a training that the other one did not have;
# - the clips are few. In notebook 5, with six times as many, a model from random weights needed no help;
# - two seeds and one learning rate are a beginning. The error above is that of the clips, not that of the seeds.
#
# The opposite happens too. A large ViT given as `MINAST_VIT` gets few steps here, so that you need not wait for hours,
# and few steps may leave it *behind* the random one. If so, the table says it, and the cure is the whole of the data
# and more epochs. What carries over is the *comparison*: same architecture, same batches, same rate, clips that neither
# saw, and an error for the difference.
#
# The command does all of it, head first, and keeps the report in the checkpoint:
#
# ```bash
# python -m minast.train my_sounds/ --pretrained ViT-B_16.npz
# python -m minast.convert ViT-B_16.npz start.npz --classes 10 --frames 512
# ```

# %%
file.close()
folder.cleanup()

# %% [markdown]
# ## What to remember
#
# - A ViT and an AST differ in the first layer, the grid and the head. The encoder is a copy.
# - Sum the colours: that is the image model looking at grey. The mean is a third of it.
# - Positions: cut from the middle where the grid is smaller, interpolate between cell centres where it is larger, leave
#   the prefix tokens' rows alone.
# - One identity on the unchanged grid checks the whole conversion; shapes that fit check nothing.
# - Pretrained against random is a claim about a *difference*: pair it, and give its error.
#
# ## Where this is in minast
#
# [pretrained/](../minast/pretrained/README.md): [npz.py](../minast/pretrained/readers/npz.py) reads,
# [jax.py](../minast/pretrained/layouts/jax.py) knows the names, [adapt.py](../minast/pretrained/adapt.py) merges the
# colours, [positions.py](../minast/positions.py) cuts and stretches, [load.py](../minast/pretrained/load.py) is the whole
# way, one step a line. [linear_probe.py](../minast/training/linear_probe.py) fits the head first. The small ViT is
# [small_vit.py](small_vit.py), beside this notebook.
#
# ## Next
#
# [07_first_kernel](07_first_kernel.ipynb): the layers you have derived, written for a GPU, and run without one.
