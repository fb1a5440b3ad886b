# %% [markdown]
# # 6. From ViT to AST
#
# ![You are here](pictures/here_06.svg)
#
# The point of [AST](https://arxiv.org/abs/2104.01778) is a surprise: a transformer that has learnt to look at pictures hears better than one that starts from
# random weights. A spectrogram is a picture, after all, but not quite: it has no colours, it is not square, and its
# classes are others. After this notebook you can
#
# - read the weights of a *vision transformer* (ViT) from the official `.npz`, and put each array in its place;
# - merge colour filters, and say why the sum is right and the mean is not the same thing;
# - cut and stretch a square grid of positions to the shape of a spectrogram;
# - check every step with a number, and the whole with one identity;
# - fine-tune with and without the pretrained weights, and say how sure the difference is;
# - compare it with the same experiment on real recordings and a real ViT.
#
# **Needs:** notebook [5](05_encoder_trained.ipynb) (the encoder and its training loop).
#
# **Your own weights, your own sounds.** Without anything, the notebook makes a small ViT and uses the built-in sounds.
# Set `MINAST_VIT` to any ViT `.npz` in the official layout, and `MINAST_CLIPS` to a folder of recordings with one
# sub-folder per class, *before* Jupyter starts. With a large ViT the last part takes several minutes.
#
# ```bash
# MINAST_VIT=ViT-B_16.npz MINAST_CLIPS=my_sounds/ jupyter lab
# ```

# %%
import json
import math
import os
import tempfile
from pathlib import Path

import numpy as np

import minast
import show
import small_vit
from exercises import vit_to_ast as check
from figures import vit_to_ast as draw
from minast import layers, metrics, optim, pretrained, scoring
from minast.datasets import open_dataset
from minast.features import pad_or_trim
from minast.pretrained import adapt
from minast.pretrained.layouts import jax
from minast.pretrained.readers import npz
from minast.training import batches, linear_probe
from minast.training.feature_cache import FeatureCache

given_vit, given_clips = os.environ.get("MINAST_VIT"), os.environ.get("MINAST_CLIPS")
folder = tempfile.TemporaryDirectory()
show.style()

# %% [markdown]
# ## 6.1 A transformer that looks at pictures
#
# A ViT ([Dosovitskiy et al. 2021](https://arxiv.org/abs/2010.11929)) cuts a square colour picture into patches of
# 16 x 16 pixels and treats them as notebook 2 treats a spectrogram's. Its encoder *is* AST's encoder. So a ViT costs a few lines: the same class with another first layer, in
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
order = np.argsort(kinds)
draw.drawings(drawn[order], [small_vit.LABELS[kinds[k]] for k in order])

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


# %%
# varies: training depends on the processor
if given_vit:
    path = given_vit
else:
    vit, losses = pretrain()
    x, y = small_vit.pictures(300, SIDE, np.random.default_rng(99))
    accuracy = metrics.accuracy(vit.forward(x), y)
    begin = small_vit.ViT(vit.config, seed=0).w["patch_embed.proj.weight"]
    end = vit.w["patch_embed.proj.weight"]
    cosine = (begin * end).sum() / np.linalg.norm(begin) / np.linalg.norm(end)
    show.say(
        f"{vit.parameters} weights; {accuracy:.1%} ± {math.sqrt(accuracy * (1 - accuracy) / len(y)):.1%} of {len(y)} new "
        f"drawings are named rightly (guessing: 10 %). The patch filters have hardly moved: their cosine with what they "
        f"began as is {cosine:.2f}."
    )
    assert accuracy > 0.5 and cosine > 0.8
    path = str(Path(folder.name) / "small_vit.npz")
    np.savez(path, **small_vit.official_arrays(vit))
    draw.pretraining(losses, math.log(10))

# %% [markdown]
# From here on there is only a file in the official layout, `path`: ours or yours.
#
# ## 6.2 Step 1: read
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
# ### Exercise 6.1 ★ Design: the way out
#
# That was the way in. The linear layer after attention has a kernel $(H, d, D)$ in the file: it takes number $d$ of
# head $h$ and adds to channel $c$ of the output, $y_c = \sum_{h,d} o_{h,d}\,K_{h,d,c}$. Write `output_linear(kernel)`:
# from such a kernel to a linear layer's weight `(D, H d)`.
#
# <details><summary>Hint</summary>
#
# Which axes are the input of this layer, and in which order does attention hand them over?
#
# </details>
#
# [Solution](solutions/vit_to_ast.py)


# %%
def output_linear(kernel):
    """(H, d, D) -> (D, H d)"""
    return ...  # your code: replace this line


# %%
check.output_linear(output_linear)

# %% [markdown]
# minast describes each weight as parts of the file and a way to arrange them; query, key and value go under each other.
# The check: queries made with the file's own kernel, by its own formula, against ours.

# %%
show.source(jax._block)

# %%
# varies: the small ViT's training depends on the processor
block, at = layout.parts, "blocks.0.attn.qkv.weight"
ours = np.concatenate([part.arrange(file.read(part.source)) for part in block[at]])  # (3 D, D)
kernels = [file.read(part.source) for part in block[at]]  # (D, H, d) each
x = np.random.default_rng(0).standard_normal((5, layout.dim)).astype("float32")
theirs = np.concatenate([np.einsum("tc,chd->thd", x, kernel).reshape(5, -1) for kernel in kernels], axis=1)
gap = np.abs(x @ ours.T - theirs).max()
print(f"largest difference {gap:.1e}, numbers up to {np.abs(theirs).max():.2f}")
assert gap < 1e-4 * np.abs(theirs).max()

draw.kernels(kernels[0].reshape(layout.dim, -1), ours, layout.heads)
assert np.array_equal(ours[: layout.dim], kernels[0].reshape(layout.dim, -1).T)

# %% [markdown]
# The left picture, turned on its side, is the upper third of the right one: the queries. Keys and values follow below.
#
# ## 6.3 Step 2: three colours become one
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
# ### Exercise 6.2 ★★ Design: colours that were normalised
#
# Many image models were trained on normalised colours: of a picture with values between 0 and 1 they saw $x_c = (p_c -
# m_c)/\sigma_c$, with another mean $m_c$ and deviation $\sigma_c$ for each colour $c$. You want to feed grey pictures
# $p_R = p_G = p_B = s$ without normalising them. Write `fold_colours(filters, bias, mean, std)`: the filters `(D, 256)`
# and the bias `(D,)` that give, for $s$, what the ViT's `filters` `(D, C, 16, 16)` and `bias` give for the normalised
# grey picture. `mean` and `std` are arrays `(C,)`.
#
# <details><summary>Hint</summary>
#
# Write out $\sum_c \langle w_c, (s - m_c)/\sigma_c\rangle$ and sort: what multiplies $s$, and what does not?
#
# </details>
#
# [Solution](solutions/vit_to_ast.py)


# %%
def fold_colours(filters, bias, mean, std):
    """-> filters (D, 256), bias (D,)"""
    return ...  # your code: replace this line


# %%
check.fold_colours(fold_colours)

# %%
# varies: the small ViT's training depends on the processor
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
strongest = np.argsort(-np.abs(by_sum).sum(axis=1))[:10]
draw.filters(filters[strongest], by_sum[strongest].reshape(-1, 16, 16))

# %% [markdown]
# Our small ViT's filters still look like the noise they began as (the cosine above). With
# weights from photographs, as `MINAST_VIT`, look for edges and spots, and for what the sum does to filters that answer
# to colour alone.
#
# Does a factor of three matter? A token is *what* is in a patch plus *where* it is. Merged by the mean, the "what"
# enters three times weaker, while bias and positions stay. We compare the spread of the two, over patches of real
# spectrograms: normalised as AST is fed, of deviation a half. For comparison the same with noise of that deviation.
# Neighbouring values of a spectrogram are correlated, those of noise are not, and filters add neighbours up: so the two
# need not agree.

# %%
# varies: the small ViT's training depends on the processor
data = open_dataset(given_clips or "builtin", seed=0)
frames, stride = 98, 10
looked_at = FeatureCache(data.of("train")[:40], minast.FeatureConfig(frames=frames), cache=False, quiet=True)
mels = np.stack([pad_or_trim(looked_at[i], frames) for i in range(len(looked_at))])  # (clips, T, F)
mels = (mels - mels.mean()) / (2 * mels.std())
heard = layers.unfold_forward(mels, stride, stride)[0].reshape(-1, 256)  # patches
noise = 0.5 * np.random.default_rng(2).standard_normal((500, 256)).astype("float32")

position = layout.positions.arrange(file.read(layout.positions.source))[layout.position_prefix :]
where = (position - position.mean(axis=0)).std()


def ratio(patches, merged):
    """Spread of what is in patches over the spread of where they are."""
    what = patches @ merged.T
    return f"{(what - what.mean(axis=0)).std() / where:.2f}"


rows = [[name, ratio(heard, merged), ratio(noise, merged)] for name, merged in (("sum", by_sum), ("mean", by_mean))]
show.table(rows, ["colours merged by", f"what / where, {len(heard)} patches of spectrograms", "with noise"])

# %% [markdown]
# With the sum, the blocks meet *what* and *where* in the proportion of the grey pictures that they can deal with. With
# the mean it is a third of that: a proportion that they were never trained on.
#
# ## 6.4 Step 3: a square grid becomes a long one
#
# A ViT learnt one vector for each place of its square grid and adds it to the patch there. That is all it knows of
# *where*: without it a picture would be a bag of patches. What do the vectors say? Take one place and draw the *cosine
# similarity*, $\langle a, b\rangle / (|a||b|)$, of its vector with all others: neighbours are alike (red).


# %%
show.source(draw.similarity)
side = adapt.square_grid(len(position), 0)
square = position.reshape(*side, -1)
draw.similarities(square, f"before: the ViT's {side[0]} x {side[1]} grid, five places (+) against all")

# %% [markdown]
# (Our small ViT began with sines and cosines of row and column, which `init.positions` makes, and had some seconds to
# change them. Published ViTs began with random vectors and learnt such maps from nothing.)
#
# ![Positions: cut in frequency, stretched in time](pictures/positions.svg)
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
# ### Exercise 6.3 ★★ Design: the stretch as a matrix
#
# Each new vector is a mixture of old ones, so the stretch of one axis is a product with a matrix. Write
# `stretch_matrix(n, size)`, of shape `(size, n)`: `stretch_matrix(n, size) @ values` must stretch (or shrink) $n$
# values by the rule above.
#
# <details><summary>Hint</summary>
#
# Column $j$ is what becomes of `values` that are 1 at place $j$ and 0 elsewhere. `np.interp(s, places, values)`
# interpolates linearly and holds the ends.
#
# </details>
#
# [Solution](solutions/vit_to_ast.py)


# %%
def stretch_matrix(n, size):
    """-> (size, n)"""
    return ...  # your code: replace this line


# %%
check.stretch_matrix(stretch_matrix)

# %% [markdown]
# ### Exercise 6.4 ★★ Predict, then run: two middles
#
# Where an axis is cut, from $n$ places to `size`, the official code begins at `n // 2 - size // 2`. It looks as if
# `(n - size) // 2` were the same. Weights that were trained with one of them are shifted by a whole patch under the
# other, wherever the two differ. For which `n` and `size` do they? Find the rule on paper, in terms of even
# and odd, and write that down.
#
# <details><summary>Hint</summary>
#
# Write $n$ and `size` as even or odd numbers, $2a$ or $2a + 1$: four cases.
#
# </details>
#
# [Solution](solutions/vit_to_ast.py)


# %%
def differ(n, size):
    """size <= n -> True or False"""
    return ...  # your code: replace this line


# %%
check.differ(differ)

# %% [markdown]
# To see both at once, take AST's own case: a ViT of 24 x 24 patches becomes 12 x 101 for ten seconds. Instead of learnt
# vectors each place carries its own coordinates, so that afterwards it says where it came from.

# %%
coordinates = np.stack(np.mgrid[0:24, 0:24], axis=-1).astype(float)  # (24, 24, 2): row, column
long = adapt.resize_grid(coordinates, (12, 101))
draw.coordinates(coordinates, long)
assert long[:, 0, 0].tolist() == list(range(6, 18))  # frequency: cut from the middle
assert np.allclose(np.diff(long[0, 3:-3, 1]), 24 / 101)  # time: equal steps
assert np.allclose(long[..., 1], long[:1, :, 1])  # and each axis by itself

# %% [markdown]
# Now ours, for the model that will hear.

# %%
options = {"classes": len(data.labels), "frames": frames, "fstride": stride, "tstride": stride}
config = minast.ModelConfig(dim=layout.dim, depth=layout.depth, heads=layout.heads, **options)
stretched = adapt.resize_grid(square, config.grid)
print(f"positions {square.shape} -> {stretched.shape}")
draw.similarities(stretched, f"after: {config.grid[0]} x {config.grid[1]} patches, frequency by time")

# %% [markdown]
# The order of tokens fits without a change: the ViT counts along a row first, AST along time first, and a picture's row
# becomes a spectrogram's row of one frequency. (Which end of it is up does not matter to the copy: bin 0 takes the top
# row.)
#
# ## 6.5 Step 4: prefix tokens
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
draw.lengths(rows, adapted, layout.position_prefix)

# %% [markdown]
# (Our [CLS] row is hardly visible: it began at zero, while the others began as sines and cosines.)
#
# ## 6.6 All of it in one line, and one identity
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
# varies: the small ViT's training depends on the processor
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
# ## 6.7 Step 5: a new head
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
every = [held_out[i] for i in range(len(held_out))]  # kept in memory: they are looked at often
print(f"{len(cached)} clips to learn from, {len(held_out)} held out, {len(data.labels)} classes")


# %%
def right_answers(model):
    """Which held-out clips the model names rightly.   -> (n,) of True and False"""
    return scoring.clip_scores(model, info, every).argmax(axis=1) == held_targets.argmax(axis=1)


def share(answers):
    """The share of right answers with its standard error, in words."""
    return f"{answers.mean():.1%} ± {answers.std() / math.sqrt(len(answers)):.1%}"


def says(model):
    """The probabilities of the first held-out clip."""
    return scoring.clip_scores(model, info, every[:1])[0]


# %%
# varies: training depends on the processor
fresh = minast.AST(config, seed=0)  # the same architecture, random weights
before, untrained = says(model), right_answers(model)
some = np.random.default_rng(1).permutation(len(cached))[:16]  # of all classes: the clips are sorted by class
x, y = batches.training_batch(cached, targets, some, features, minast.TrainConfig(), epoch=0, step=0)
loss = model.loss(model.forward(x), y, "ce")
probed = {}
for name, start in (("from the ViT", model), ("random weights", fresh)):
    linear_probe.fit_linear_probe(start, cached, targets, features, "ce")
    probed[name] = right_answers(start)
draw.probabilities({"random head": before, "head fitted, encoder untouched": says(model)}, data.labels, held_targets[0])
show.say(
    f"With the random head the loss is {loss:.2f} (ln K = {math.log(len(data.labels)):.2f}), and {share(untrained)} of the "
    f"held-out clips are named rightly. Head fitted: {share(probed['from the ViT'])} on the ViT's encoder, "
    f"{share(probed['random weights'])} on a random one."
)
if not (given_vit or given_clips):
    assert abs(loss - math.log(10)) < 0.7 and probed["random weights"].mean() > 0.15

# %% [markdown]
# One clip is an example, and the likeliest class may still be a wrong one there. The answer is the share of all held-out
# clips that are named rightly. A random encoder is not worth nothing: random features of a spectrogram can be told
# apart, too. That is why the comparison needs both numbers, not the first alone.
#
# ## 6.8 Fine-tuning, with and without
#
# Now everything moves: the same loop, the same batches, the same rate, from the ViT and from random weights. The only
# difference is where the weights begin.


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


# %%
# varies: training depends on the processor
epochs, lr, seeds = (4, 1e-4, (0,)) if large else (8, 1e-3, (0, 1, 2))
curves, right = {"from the ViT": [], "random weights": []}, {"from the ViT": [], "random weights": []}
for seed in seeds:
    tuned = pretrained.load(path, seed=seed, **options)[0]
    starts = {"from the ViT": tuned, "random weights": minast.AST(config, seed=seed)}
    for name, start in starts.items():
        curve, answers = fine_tune(start, seed, epochs, lr)
        curves[name].append(curve)
        right[name].append(answers)

# %%
# varies: training depends on the processor
lines = [(name, range(2, epochs + 1, 2), curve) for name, runs in curves.items() for curve in runs]
draw.accuracies({f"Fine-tuning on {len(cached)} clips": lines}, 1 / len(data.labels))

# %% [markdown]
# ## 6.9 How sure is the difference?
#
# Both models answer the *same* clips. So look at the difference clip by clip: $d_i = a_i - b_i$, where $a_i$ and $b_i$
# are 1 for a right answer and 0 for a wrong one. A clip that both know, or neither, says nothing about the difference.
# The mean of $d$ is the difference of the accuracies, and its standard error is the deviation of $d$ over $\sqrt n$. If
# there were no difference, other clips drawn in the same way would show a mean beyond two standard errors about once in
# twenty times. So that is the usual bar.
#
# ### Exercise 6.5 ★★ Derive: three numbers are enough
#
# A paper tells you three counts: of $n$ clips, `only_a` were named rightly by model $a$ alone, and `only_b` by model $b$
# alone. Write `from_counts(n, only_a, only_b)`: the mean of the differences $d$ and its standard error, with the
# deviation divided by $n$ (`np.std` as it is).
#
# <details><summary>Hint</summary>
#
# $d$ takes three values. What is the mean of $d$, what that of $d^2$? The variance is the mean of the square less the
# square of the mean.
#
# </details>
#
# [Solution](solutions/vit_to_ast.py)


# %%
def from_counts(n, only_a, only_b):
    """mean of a - b, its standard error"""
    return ...  # your code: replace this line


# %%
check.from_counts(from_counts)


# %%
# varies: training depends on the processor


def paired(a, b):
    """Mean of the differences clip by clip, and its standard error, in points (hundredths)."""
    d = 100 * (a.astype(float) - b)
    return d.mean(), d.std() / math.sqrt(len(d))


def verdict(mean, error):
    beyond = abs(mean) > 2 * error
    return "beyond two errors: hardly the choice of clips" if beyond else "within two errors: it may be chance"


rows = [["head only", share(probed["from the ViT"]), share(probed["random weights"]), ""]]
gains = []
for seed, a, b in zip(seeds, right["from the ViT"], right["random weights"], strict=True):
    mean, error = paired(a, b)
    rows.append([f"all weights, seed {seed}", share(a), share(b), f"{mean:+.1f} ± {error:.1f}: {verdict(mean, error)}"])
    gains.append(mean)
    if not (given_vit or given_clips):
        assert mean > 2 * error
show.table(rows, ["trained", "from the ViT", "from random weights", "difference (points, paired error)"])
if len(gains) > 1:
    show.say(
        f"Over {len(gains)} seeds the difference is {np.mean(gains):+.1f} points, with a deviation from seed to seed of "
        f"{np.std(gains, ddof=1):.1f}."
    )

# %% [markdown]
# Do not carry the number elsewhere:
#
# - the drawings were made by someone who knew spectrograms: lines, waves, strokes and dashes are in both;
# - the pretrained model has had a training that the other one did not have;
# - the clips are few. In notebook 5, with six times as many, a model from random weights needed no help;
# - a few seeds and one learning rate are a beginning. The error in each row is that of the clips, not that of the seeds.
#
# The opposite happens too. A large ViT given as `MINAST_VIT` gets few steps here, so that you need not wait for hours,
# and few steps may leave it *behind* the random one. If so, the table says it, and the cure is the whole of the data
# and more epochs.
#
# ## 6.10 The same with a real ViT and real recordings
#
# Does it hold outside of this notebook? [ESC-10](https://dx.doi.org/10.7910/DVN/YDEPUT) has 400 recordings of 5 s in ten
# classes ([Piczak 2015](https://doi.org/10.1145/2733373.2806390)). A ViT-S with 21 M weights that was trained on
# images alone is adapted by the steps above and fine-tuned on four of the five official folds; the fifth, 80 clips, is
# held out. (It is [DINOv2](https://arxiv.org/abs/2304.07193)'s ViT-S/14, whose patch filter was resized to 16 x 16 and
# whose layer scales were multiplied into the weights beforehand.) All settings are those that suit pretrained weights, for
# both (among them a rate that falls from block to block): random weights might do better with others. A run takes ten
# minutes on one core, so the figures are stored, with the commands that made them and each clip's answer, in
# [stored/esc10.json](stored/esc10.json).

# %%
stored = json.loads((Path(draw.__file__).parents[1] / "stored" / "esc10.json").read_text("utf-8"))
names = {"vit": "from the ViT", "random": "random weights"}
esc = {(names[r["start"]], r["seed"]): r for r in stored["runs"]}
first = esc["from the ViT", 0]["command"], esc["random weights", 0]["command"]
print("\n\n".join(first))

# %%
# varies: the left half is trained here
real = [(name, range(1, 1 + len(r["held_out_accuracy"])), r["held_out_accuracy"]) for (name, _), r in esc.items()]
draw.accuracies({"this notebook: small ViT, drawings": lines, "ESC-10: ViT-S/16, photographs": real}, 0.1)

# %%
rows, real_seeds = [], sorted({seed for _, seed in esc})
for seed in real_seeds:
    a, b = (np.array(list(esc[name, seed]["right_at_the_end"])) == "1" for name in ("from the ViT", "random weights"))
    mean, error = paired(a, b)
    rows.append([f"seed {seed}", share(a), share(b), f"{mean:+.1f} ± {error:.1f}: {verdict(mean, error)}"])
    best = {name: max(esc[name, seed]["held_out_accuracy"]) for name in names.values()}
    rows.append([f"seed {seed}, best epoch", f"{best['from the ViT']:.1%}", f"{best['random weights']:.1%}", ""])
show.table(rows, ["ESC-10, fold 1", "from the ViT", "from random weights", "difference (points, paired error)"])
show.say(
    f"{'One seed each' if len(real_seeds) == 1 else f'{len(real_seeds)} seeds each'}; one clip of 80 is 1.25 points. The best "
    "epoch is chosen on these very clips, which flatters it: the last epoch is the fair one."
)

# %% [markdown]
# What carries over is the *comparison*: same architecture, same batches, same rate, clips that neither
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
