# %% [markdown]
# # 9. What does it hear?
#
# ![You are here](pictures/here_09.svg)
#
# A classifier gives a number a class. Which part of the sound did that number come from, and how far can a picture be
# trusted that claims to show it? After this notebook you can
#
# - score a long recording over time, with segments that overlap;
# - read attention maps, and compute **attention rollout** and a **gradient-based relevance map** for any class;
# - cut out and play what mattered, and test a map by deleting what it points at;
# - name three ways in which such pictures mislead, and run the checks that find them out.
#
# **Needs:** notebooks [1](01_sound_to_pictures.ipynb) (spectrograms), [2](02_patches.ipynb) (patches),
# [4](04_attention.ipynb) (attention and its gradient) and [5](05_encoder_trained.ipynb) (training).
#
# A model is trained below, and training rounds differently on each kind of processor: what is found here about *this*
# model may come out differently on yours. So sentences about it are written by the cells, from the numbers, with
# standard errors over clips.

# %%
from functools import partial

import numpy as np
from scipy.signal import decimate
from scipy.stats import spearmanr

import minast
import show
from exercises import what_does_it_hear as check
from figures import what_does_it_hear as draw
from minast import explain, metrics, optim, scoring
from minast.checkpoint import Info
from minast.config import FeatureConfig, TrainConfig
from minast.datasets.common import Clip, Dataset
from minast.datasets.synthetic import generate, synth
from minast.features import model_inputs
from minast.training import batches
from minast.training.feature_cache import FeatureCache

RATE = 16000  # samples a second
LABELS = ["alarm", "bell", "bird", "siren", "speech"]
show.style()

# %% [markdown]
# ## 9.1 A model to look into
#
# Five of minast's built-in sounds are enough. A training clip lasts one second and holds **no, one or two** of them
# over quiet noise. So the model needs one yes-or-no question a class, a *sigmoid* each, trained with binary
# cross-entropy: "nothing" and "both" are answers. With softmax it would have to name a sound even in silence.


# %%
def sound(label, rng, samples):
    """One built-in sound of RMS 1 that fades in and out within 10 ms."""
    wave = synth.unit(generate.SOUNDS[label](rng, samples, RATE))
    edge = np.minimum(1, np.arange(samples) / (0.01 * RATE))
    return wave * edge * edge[::-1]


def contents(i, seed):
    """Which classes clip i holds: of eight clips one is empty, four hold one sound, three hold two."""
    rng = np.random.default_rng([seed, i])
    return rng, sorted(int(k) for k in rng.choice(len(LABELS), (1, 1, 2, 2, 1, 1, 2, 0)[i % 8], replace=False))


def make_clip(i, seed, rate=RATE):
    rng, classes = contents(i, seed)
    wave = 0.005 * synth.noise(rng, rate, rate, rng.uniform(0.5, 1.5))
    for k in classes:
        start, stop = int(rng.uniform(0, 0.3) * rate), int(rng.uniform(0.7, 1) * rate)
        wave[start:stop] += rng.uniform(0.02, 0.06) * sound(LABELS[k], rng, stop - start)
    return wave.astype(np.float32)


# %%
def clips(count, seed):
    made = [Clip(f"{i}", contents(i, seed)[1], "train", make=partial(make_clip, i, seed)) for i in range(count)]
    return Dataset("mixtures", LABELS, made, multilabel=True)


train, held_out = clips(1200, seed=0), clips(640, seed=1)
plain = FeatureConfig(frames=98)  # one second
cache, held_cache = (FeatureCache(data.clips, plain, cache=False, quiet=True) for data in (train, held_out))
mean, std = cache.mean_std()
features = FeatureConfig(frames=98, mean=mean, std=std)
info = Info(labels=LABELS, features=features, loss="bce")
print(f"log-mel of all training clips: mean {mean:.2f}, deviation {std:.2f} nats")

# %% [markdown]
# The model is AST, small: 4 blocks of width 96 with 3 heads; patches of 16 mel bins x 16 frames, without overlap along
# frequency and every 10 frames along time. The loop is the one of notebook 5.

# %%
config = minast.ModelConfig.preset(
    "nano", classes=len(LABELS), frames=98, mel_bins=128, fstride=16, tstride=10, depth=4
)
settings = TrainConfig(epochs=3, batch=16, lr=2e-3, loss="bce", warmup=50)


def trained(seed):
    model = minast.AST(config, seed=seed)
    adam = optim.Adam(model.w.flat, weight_decay=settings.weight_decay, decoupled=True)
    targets, steps = train.targets(train.clips), batches.steps_per_epoch(len(cache), settings.batch)
    for step in range(settings.epochs * steps):
        epoch, at = divmod(step, steps)
        chosen = batches.order(len(cache), settings, epoch)[at * settings.batch :][: settings.batch]
        x, y = batches.training_batch(cache, targets, chosen, features, settings, epoch, at)
        model.zero_grad()
        model.loss_and_grad(x, y, "bce")
        optim.clip_gradient(model.dw.flat, settings.max_grad_norm)
        adam.step(model.dw.flat, optim.schedule(settings, step, steps))
    return model


model = trained(seed=0)

# %%
# varies: training depends on the processor
scores, truth = scoring.clip_scores(model, info, held_cache), held_out.targets(held_out.clips)
print(f"{config.grid[0]} x {config.grid[1]} patches, {model.parameters / 1e6:.2f} M weights")
rng = np.random.default_rng(5)
drawn = [rng.integers(0, len(truth), len(truth)) for _ in range(200)]  # bootstrap: other clips, drawn from these
mAP = metrics.mean_average_precision(scores, truth)
error = np.std([metrics.mean_average_precision(scores[i], truth[i]) for i in drawn])
right = ((scores > 0.5) == (truth > 0.5)).mean(axis=1)  # of the five questions, clip by clip
show.say(
    f"{len(truth)} held-out clips: mAP {mAP:.3f} ± {error:.3f}; {right.mean():.1%} ± "
    f"{right.std() / np.sqrt(len(right)):.1%} of the yes-or-no answers are right (± one standard error over clips)."
)
assert mAP > 0.8

# %% [markdown]
# mAP is the mean over classes of the average precision: how well clips that hold the class are ranked above those that
# do not; 1 is perfect. A model that is decent but not perfect suits a notebook about looking inside.
#
# ## 9.2 Predictions over time
#
# Seven seconds with four sounds, of which two overlap. We know what lies where, since we put it there.

# %%
PLAN = [("bird", 0.4, 1.6), ("speech", 2.1, 3.7), ("bell", 3.0, 4.5), ("alarm", 5.2, 6.5)]  # label, from s, to s
rng = np.random.default_rng(12)
wave = 0.005 * synth.noise(rng, 7 * RATE, RATE, 1.0)
for label, start, stop in PLAN:
    wave[int(start * RATE) : int(stop * RATE)] += 0.05 * sound(label, rng, int(stop * RATE) - int(start * RATE))
wave = wave.astype(np.float32)
mel = minast.log_mel(wave, RATE)  # (698, 128)
show.audio(decimate(wave, 2), RATE // 2, "the recording, at half the rate to keep this notebook small", normalise=True)

# %% [markdown]
# The model takes one second. A segment of one second slides over the recording in steps of 0.1 s, and each position gets
# a score a class: `scoring.scores_over_time`.

# %%
show.source(scoring.sliding, scoring.scores_over_time)
starts, over_time = scoring.scores_over_time(model, info, mel, hop=10)  # (61,) s, (61, 5)
draw.over_time(mel, starts, over_time, LABELS, PLAN, seconds=1.0)

# %%
# varies: training depends on the processor
false = {}
for label, start, stop in PLAN:
    without = (starts + 0.98 < start) | (starts > stop)  # segments that hold none of this sound
    false[label] = int((over_time[without, LABELS.index(label)] > 0.5).sum()), int(without.sum())
show.say(
    "Segments without a sound in which its score is above one half: "
    + ", ".join(f"{label} {wrong} of {total}" for label, (wrong, total) in false.items())
    + ". "
    + ("Remember them when you listen in 9.7." if any(w for w, _ in false.values()) else "No false alarm, here.")
)

# %% [markdown]
# A score over time already answers the question "when?", to a segment's length, as far as the model is right.
#
# For "which part of the segment?" we look inside. We take the segment in which speech and bell sound together.

# %%
# varies: training depends on the processor
at = int(np.argmin(np.abs(starts - 2.7)))
_, segments = scoring.sliding(mel, features, hop=10)  # (61, 98, 128), normalised
x, segment_mel, begin = segments[at : at + 1], mel[10 * at : 10 * at + 98], starts[at]
show.say("What the model says: " + ", ".join(f"{n} {p:.2f}" for n, p in zip(LABELS, over_time[at], strict=True)) + ".")

# %% [markdown]
# ## 9.3 Attention maps
#
# Head $h$ of layer $l$ (of the $l$-th block) gathers for token $i$ the mean $o_i = \sum_j A_{ij} v_j$ with $A = \mathrm{softmax}(q k^\top /
# \sqrt{D})$ (notebook 4). Row $i$ of $A$ says how much of each token goes in; it sums to 1. The class token's output is
# all that the head of the model reads, so we draw the class token's row, laid out as patches.


# %%
# varies: training depends on the processor
maps = minast.attention_maps(model, x)  # a (1, 3, 73, 73) a layer; of the last only the class token's row is computed
print("shapes:", [p.shape for p in maps])
assert all(np.allclose(p.sum(axis=-1), 1, atol=1e-5) for p in maps)
rows = {
    (layer, head): explain.patch_grid(config, p[:, head, 0])[0] for head in range(3) for layer, p in enumerate(maps)
}
draw.attention({f"layer {i + 1}, head {h + 1} ({row.sum():.0%})": row for (i, h), row in rows.items()}, begin)

# %% [markdown]
# All pictures share one colour scale. The number in a title says how much of the row goes to patches
# at all; the rest is the class token looking at itself. Three things to keep in mind.
#
# - In layer 1 the class token has seen nothing yet: its *query* is the same for each clip that ever comes in (checked
#   below).
# - From layer 2 on, token $j$ is no longer patch $j$: layer 1 has already mixed the others into it.
# - A weight says how much of $v_j$ is taken, not what $v_j$ is, nor what the later layers make of it.

# %%
several = model.encoder.embed_forward(segments[:5])[0]  # (5, 73, 96): what the first block gets
assert np.array_equal(several[:, 0], several[:1, 0].repeat(5, axis=0)) and not np.allclose(
    several[0, 1:], several[1, 1:]
)

# %% [markdown]
# ## 9.4 Attention rollout
#
# To undo the mixing, follow it. A block computes $x \leftarrow x + \mathrm{attention}(x)$, then adds an MLP, which
# treats each token alone. Suppose that both terms weigh the same, and forget values, norms and MLP. Then what a token
# holds after the block is a mean of what the tokens held before, with the weights
# $$B_l = \tfrac12 A_l + \tfrac12 I, \qquad\text{where } A_l \text{ is the mean over heads.}$$
# Block after block, the shares multiply: after $L$ blocks, token $i$ consists of patch $j$ by the share
# $$(B_L\, B_{L-1} \cdots B_1)_{ij}.$$
# Rows of each $B_l$ sum to 1, hence those of the product: $\sum_k B_{ik} \sum_j C_{kj} = \sum_k B_{ik} = 1$. This is
# attention rollout ([Abnar and Zuidema 2020](https://arxiv.org/abs/2005.00928)).
#
# ### Exercise 9.1 ★★ Predict, then run
#
# Suppose that every token attends to all $T$ tokens alike, itself included, in all $L$ layers. How much of the class
# token's own content is left in it at the end? Find the formula, as a function of `tokens` and `layers`. (Not $1/2^L$:
# a little of what was given away comes back.)
#
# <details><summary>Hint</summary>
#
# Let $U$ be the matrix whose entries are all $1/T$. What is $U U$? Multiply out $(\frac12 U + \frac12 I)^2$.
#
# </details>
#
# [Solution](solutions/what_does_it_hear.py)


# %%
def own_share(tokens, layers):
    """The entry (0, 0) of the product"""
    return ...  # your code: replace this line


# %%
check.own_share(own_share)

# %% [markdown]
# In minast it is `minast.rollout`. It goes from the last layer to the first, with one row instead of a matrix, and
# gives the patches' shares. `explain.on_spectrogram` lays them over the spectrogram: each frame and mel bin gets the
# mean of the patches that see it.

# %%
show.source(explain.roll)
shares = minast.rollout(model, x)  # (1, 8, 9)
draw.relevance(
    segment_mel, {"rollout: where the class token's content comes from": explain.on_spectrogram(config, shares)[0]}, begin,
    label="share",
)  # fmt: skip

# %%
# varies: training depends on the processor
uniform = 1 / config.tokens + (1 - 1 / config.tokens) / 2**config.depth
show.say(
    f"{shares.sum():.1%} of the class token comes from the patches; {1 - shares.sum():.1%} is its own. Were all attention "
    f"uniform, {uniform:.1%} would be its own."
)

# %% [markdown]
# Nothing in rollout mentions a class. It cannot tell what made the model say "bell" from what made it say "speech".
#
# ## 9.5 Relevance: attention times its gradient
#
# Take one class's logit $y$ as a function of all probabilities $A$, and ask what happens if one of them is removed:
# set to 0, all others kept. To first order $y$ falls by
# $$A_{ij}\, \frac{\partial y}{\partial A_{ij}}.$$
# The gradient is a by-product of the backward pass of notebook 4. Let $do = \partial y / \partial o$ have arrived at
# the attention's output $o_i = \sum_j A_{ij} v_j$. Then $\partial o_{id} / \partial A_{ij} = v_{jd}$, and by the chain
# rule
# $$\frac{\partial y}{\partial A_{ij}} = \sum_d do_{id}\, v_{jd}, \qquad dA = do\, v^\top.$$
# With $\odot$ for the product entry by entry, NumPy's `*`:
# [Chefer, Gur and Wolf (2021)](https://arxiv.org/abs/2103.15679) keep what speaks *for* the class, head by head, and only then take the mean over heads:
# $$G_l = \frac1H \sum_h \max(dA_l^{(h)} \odot A_l^{(h)},\, 0).$$
# $R_{ij}$, how relevant patch $j$ is to token $i$, starts as $R = I$: each token is itself. A block adds to a token
# what it gathered, weighed by $G$, and what those tokens were made of:
# $$R \leftarrow R + G_l R, \qquad l = 1 \dots L.$$
# The class token's row of $R$ is the relevance map of class $y$.
#
# ### Exercise 9.2 ★★ Design: two heads that cancel
#
# Does it matter whether the positive part or the mean over heads comes first? Construct a case: return `A` and `dA`,
# each $(2, T, T)$ with a $T$ of your choice, such that $\max(\text{mean over heads of } dA \odot A,\, 0)$ is 0
# everywhere, and $G$ is not. `A` holds probabilities: not negative, rows that sum to 1.
#
# <details><summary>Hint</summary>
#
# Let one head speak as loudly against the class as the other speaks for it.
#
# </details>
#
# [Solution](solutions/what_does_it_hear.py)


# %%
def disagreeing_heads():
    """A (2, T, T), dA (2, T, T)"""
    return ...  # your code: replace this line


# %%
check.disagreeing_heads(disagreeing_heads)

# %% [markdown]
# minast wraps the model's layer functions, so that attention also shows $A$ and $dA$ to whoever asks. The product
# $(I + G_L) \cdots (I + G_1)$ is again taken from the left, one row at a time: the order in which the backward pass
# visits the layers, so that no map has to be kept.

# %%
show.source(explain.HookedLayers.attention_backward)
show.source(explain.relevance, start="def prefix_rows", stop="rows = np.concatenate")

# %% [markdown]
# A formula for a gradient is believed when finite differences agree. So one probability of the last layer is made
# larger and smaller by a little, and the logit of "bell" is computed again: in float64, on the reference backend.


# %%
# varies: training depends on the processor
class Nudged(explain.HookedLayers):
    """The model's layers, but head `h` takes `by` more of token `j` for the class token, in the last block."""

    def class_attention_forward(self, q, kv, heads):
        o, cache = self.layers.class_attention_forward(q, kv, heads)
        v = kv.reshape(kv.shape[1], 2, heads, -1)[:, 1]  # (tokens, heads, D), of one clip
        D = v.shape[-1]
        o[0, 0, self.h * D : (self.h + 1) * D] += self.by * v[self.j, self.h]  # o_0 = sum_j A_0j v_j
        return o, cache


bell, speech, siren = (LABELS.index(name) for name in ("bell", "speech", "siren"))
exact = minast.AST(config, backend="numpy", seed=None, dtype="float64")
for name, weight in exact.w.items():
    weight[...] = model.w[name]
dA = explain.attention_gradients(exact, x, bell)[-1]  # (1, 3, 1, 73)
nudged = Nudged(exact.layers)
exact = exact.with_layers(nudged)
for nudged.h, nudged.j in ((0, 5), (1, 40), (2, 71)):
    logits = []
    for nudged.by in (1e-4, -1e-4):
        logits.append(exact.forward(x)[0, bell])
    numeric, analytic = (logits[0] - logits[1]) / 2e-4, dA[0, nudged.h, 0, nudged.j]
    print(f"head {nudged.h + 1}, token {nudged.j}: numeric {numeric:+.8f}, dA {analytic:+.8f}")
    assert abs(numeric - analytic) < 1e-6 * abs(dA).max()

# %% [markdown]
# The tests of minast do the same for every layer (`tests/model/test_explain.py`). Now the maps: for both classes in this
# segment.


# %%
def relevance_map(model, x, classes=None):
    return explain.on_spectrogram(config, minast.relevance(model, x, classes))  # (B, 98, 128)


for_speech, for_bell = (relevance_map(model, x, k)[0] for k in (speech, bell))
draw.relevance(segment_mel, {"relevance for speech": for_speech, "relevance for bell": for_bell}, begin)

# %%
# varies: training depends on the processor
alike = spearmanr(for_speech.ravel(), for_bell.ravel())[0]
show.say(f"The same sound, the same weights, two questions: the rank correlation of the two maps is {alike:.2f}.")
assert alike < 0.98

# %% [markdown]
# For the whole recording, the maps of all segments
# are averaged where they overlap. A map does not know whether its class is there at all, so each segment counts by its
# score. Drawn are the three seconds with speech and bell.


# %%
def over_recording(k):
    """The mean of the segments' relevance maps for class k, each times the segment's probability of k: (698, 128)."""
    total, count = np.zeros(mel.shape), np.zeros((len(mel), 1))
    for i, values in enumerate(relevance_map(model, segments, k)):
        total[10 * i : 10 * i + 98] += over_time[i, k] * values
        count[10 * i : 10 * i + 98] += 1
    return total / np.maximum(count, 1)


everywhere = {label: over_recording(LABELS.index(label)) for label in ("bird", "speech", "bell", "alarm")}
draw.recording(mel[180:480], {label: everywhere[label][180:480] for label in ("speech", "bell")}, PLAN, start=1.8)

# %% [markdown]
# ## 9.6 Input x gradient
#
# The plainest map needs no attention: the gradient of the logit by the input itself, times the input. By the same
# first-order argument, $x_{tf}\, \partial y / \partial x_{tf}$ is about what $y$ would lose were the entry set to 0. It
# is signed and has the resolution of the spectrogram; and 0 means "the training data's mean", not silence.

# %%
plain_map = minast.input_relevance(model, x, bell)[0]
limit = np.quantile(abs(plain_map), 0.99)  # the largest hundredth in full colour: single entries stand out far
title = "input x gradient for bell: red speaks for it, blue against it"
draw.relevance(segment_mel, {title: plain_map}, begin, label="logits", limit=limit)

# %% [markdown]
# ## 9.7 Listening to what mattered
#
# Add up a map over frequency, and each frame has a number. The half second with the largest sum is what we cut out.
#
# ### Exercise 9.3 ★ Design: from frames to samples
#
# Frame $i$ covers `length` samples (400: 25 ms) and begins `shift` samples (160: 10 ms) after frame
# $i - 1$. Write `samples_of(first, last, shift, length)`, which returns two numbers: the first sample of the frames
# `first` to `last` (both included), and the sample after their last one.
#
# <details><summary>Hint</summary>
#
# Where does frame `last` begin, and how long is it?
#
# </details>
#
# [Solution](solutions/what_does_it_hear.py)


# %%
def samples_of(first, last, shift, length):
    """first sample, the sample after the last one"""
    return ...  # your code: replace this line


# %%
check.samples_of(samples_of)


# %%
# varies: training depends on the processor


def best_frames(values, frames=50):
    """The first and last of the `frames` frames in a row with the most relevance."""
    sums = np.convolve(values.sum(axis=1), np.ones(frames), mode="valid")
    return int(sums.argmax()), int(sums.argmax()) + frames - 1


found = {}
for (label, start, stop), values in zip(PLAN, everywhere.values(), strict=True):
    first, last = best_frames(values)
    begins, ends = first / 100, last / 100 + 0.025
    found[label] = max(0.0, min(ends, stop) - max(begins, start)) / (ends - begins)
    title = f"most relevant for {label}: {begins:.2f} s to {ends:.2f} s"
    show.audio(wave[160 * first : 160 * last + 400], RATE, title, normalise=True)
show.say(
    "Of these half seconds, the share that lies within the sound that was put in: "
    + ", ".join(f"{label} {share:.0%}" for label, share in found.items())
    + "."
)

# %% [markdown]
# Where a clip does not hold the sound that it is said to be most relevant for, look at the scores in 9.2: the model was
# wrong there, and the map says on what grounds. A cut in time keeps all frequencies, so that the bell's half second
# may hold speech as well. `explain.heard` takes the map as a gain for each time *and* frequency of the recording's
# short-time Fourier transform, and transforms back.

# %%
for label in ("speech", "bell"):
    left = explain.heard(wave, everywhere[label])[int(2.7 * RATE) : int(3.7 * RATE)]
    show.audio(left, RATE, f"2.7 s to 3.7 s as the map for {label} leaves it", normalise=True)

# %% [markdown]
# ## 9.8 Is the map right? Deleting what it points at
#
# A map claims: *this* mattered. Then the score should fall when this is taken away, and faster than if as much is taken
# away elsewhere. That can be measured.
#
# ### Exercise 9.4 ★ Design: choose what to delete
#
# Write `most_relevant(values, k)`: a boolean array of the shape of `values`, True at its $k$ largest
# entries; $k$ may be 0.
#
# <details><summary>Hint</summary>
#
# `np.argsort` gives places in the flattened array. What is `[-k:]` for $k = 0$?
#
# </details>
#
# [Solution](solutions/what_does_it_hear.py)


# %%
def most_relevant(values, k):
    """-> array of True and False"""
    return ...  # your code: replace this line


# %%
check.most_relevant(most_relevant)

# %% [markdown]
# `explain.deletion` does it in blocks of 8 frames x 16 mel bins, so that each map deletes equal areas in equal shapes.
# We ask it of all held-out clips with one sound that the model recognises; the baseline is a map drawn by chance.
#
# All maps delete from the *same* clips. So we compare clip by clip: $d_i$ is how much more the logit of clip $i$ falls
# by one map than by the other. Its mean has the standard error $\mathrm{std}(d)/\sqrt n$ (notebook 6). It is the error
# over clips, for this one model: another training would be another model. (Error bars in the picture are those of each
# curve by itself.)

# %%
# varies: training depends on the processor
alone = [i for i, row in enumerate(truth) if row.sum() == 1 and scores[i, row.argmax()] > 0.5]
X = np.concatenate([model_inputs(held_cache[i], features) for i in alone])  # (clips, 98, 128)
y = truth[alone].argmax(axis=1)
rng = np.random.default_rng(3)


def all_maps(model, X, y):
    return {
        "relevance": relevance_map(model, X, y),
        "input x gradient": minast.input_relevance(model, X, y),
        "rollout": explain.on_spectrogram(config, minast.rollout(model, X)),
    }


areas = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.5])
fills = {"replaced by the mean (0)": 0.0, "replaced by each bin's least": X.min(axis=1, keepdims=True)}
compared = {**all_maps(model, X, y), "chance": rng.random(X.shape)}
panels = {
    filled: {name: explain.deletion(model, X, values, y, areas, fill) for name, values in compared.items()}
    for filled, fill in fills.items()
}
draw.deletion(panels, areas, f"logit of the true class\n(mean of {len(X)} clips)")


# %%
# varies: training depends on the processor


def versus(a, b):
    """Mean difference of two falls, clip by clip, and its standard error.   a, b (clips,)"""
    d = a - b
    return d.mean(), d.std() / np.sqrt(len(d))


def verdict(mean, error):
    """In words: beyond two standard errors, or not."""
    return "more than" if mean > 2 * error else "less than" if mean < -2 * error else "within two errors as much as"


def against(a, b):
    """The paired difference in words."""
    return "" if a is b else "{:+.2f} ± {:.2f}".format(*versus(a, b))


def falls(curves, area):
    """How much the logit of each clip falls when this share is deleted.   -> {map: (clips,)}"""
    at = list(areas).index(area)
    return {name: logits[0] - logits[at] for name, logits in curves.items()}


better = {}
for filled, curves in panels.items():
    fall = falls(curves, 0.2)
    rows = [[name, f"{f.mean():.2f}", against(f, fall["chance"])] for name, f in fall.items()]
    show.say(f"A fifth deleted, {filled}; {len(X)} clips:")
    show.table(rows, ["map", "mean fall of the logit", "more than by chance (± paired standard error)"])
    better[filled] = {name: verdict(*versus(f, fall["chance"])) for name, f in fall.items() if name != "chance"}
    assert better[filled]["relevance"] == "more than"
for filled, by_map in better.items():
    words = ", ".join(f"{word} by chance if deleted by {name}" for name, word in by_map.items())
    show.say(f"{filled.capitalize()}, the logit falls {words}.")
(_, by_mean), (_, by_least) = ((filled, falls(curves, 0.2)) for filled, curves in panels.items())
apart = {name: versus(by_mean[name], by_least[name]) for name in by_mean if name != "chance"}
unlike = [f"{name} {mean:+.2f} ± {error:.2f}" for name, (mean, error) in apart.items() if abs(mean) > 2 * error]
show.say(
    f"The two fillings differ here. What the mean adds to the fall of the logit, map by map: {', '.join(unlike)}."
    if unlike
    else "The two fillings agree here, within two standard errors for each map; they need not."
)

# %% [markdown]
# Two cautions. Both pictures ask the same question, "what if this were gone?", and need not agree: "gone" has no
# meaning for a spectrogram, only "replaced by", and a clip with holes is unlike anything that the model was trained on.
# And with one sound in the clip, "where is anything?" and "where is the bell?" have the same answer, so that even
# rollout, which knows no class, may do well.
#
# Clips with two sounds tell them apart. We delete what a map calls most relevant and follow the logit of *one* of the
# two, in all clips in which the model recognises both.

# %%
# varies: training depends on the processor
both = [i for i, row in enumerate(truth) if row.sum() == 2 and scores[i][row == 1].min() > 0.5]
X2 = np.concatenate([model_inputs(held_cache[i], features) for i in both])
one, other = np.array([np.flatnonzero(truth[i]) for i in both]).T
rivals = {
    "relevance for this class": relevance_map(model, X2, one),
    "rollout": explain.on_spectrogram(config, minast.rollout(model, X2)),
    "relevance for the other class": relevance_map(model, X2, other),
    "chance": rng.random(X2.shape),
}
curves = {name: explain.deletion(model, X2, values, one, areas) for name, values in rivals.items()}
draw.deletion({"replaced by the mean (0)": curves}, areas, f"logit of one of two classes\n(mean of {len(X2)} clips)")

# %%
# varies: training depends on the processor
fall = falls(curves, 0.1)
this = fall["relevance for this class"]
rows = [[name, f"{f.mean():.2f}", against(this, f)] for name, f in fall.items()]
show.say(f"A tenth deleted; {len(X2)} clips:")
show.table(
    rows, ["map", "mean fall of the logit", "by relevance for this class it falls more by (± paired standard error)"]
)
others = {name: f for name, f in fall.items() if f is not this}
cost = others["relevance for the other class"]
show.say(
    "Deleted by relevance for this class, the logit of this class falls "
    + ", ".join(f"{verdict(*versus(this, f))} by {name}" for name, f in others.items())
    + f". Deleting what speaks for the *other* class costs it {cost.mean():.2f} ± {cost.std() / np.sqrt(len(X2)):.2f} logits"
    + (": it gains." if cost.mean() < -2 * cost.std() / np.sqrt(len(X2)) else ".")
)
assert verdict(*versus(this, fall["relevance for the other class"])) == "more than"
assert verdict(*versus(this, fall["chance"])) == "more than"

# %% [markdown]
# Rollout mixes the two sounds: it cannot be asked for one of them.
#
# ## 9.9 How such pictures mislead
#
# **1. They answer any question.** Ask for a class that is not there, and a map comes out, with the same colours. Here
# is the segment with speech and bell again, asked for "siren".

# %%
for_siren = relevance_map(model, x, siren)[0]
draw.relevance(segment_mel, {"relevance for speech": for_speech, "for siren, which is not there": for_siren}, begin)

# %%
# varies: training depends on the processor
show.say(
    f"The probability of siren is {over_time[at, siren]:.2f}. The largest value of the map for speech is "
    f"{for_speech.max():.3g}, for bell {for_bell.max():.3g}, for siren {for_siren.max():.3g}: each picture is drawn in "
    "full colour all the same."
)

# %% [markdown]
# **2. Some ask the network nothing.** [Adebayo and others (2018)](https://arxiv.org/abs/1810.03292) propose a check: replace the weights by random ones,
# from the head downwards, and compare the map with the one before. A map that hardly changes cannot have shown what
# the network has learnt. Maps are compared by their *rank correlation*: the correlation of ranks, so that scale does
# not matter.
#
# ### Exercise 9.5 ★★ Design: compare two maps
#
# Write `rank_correlation(a, b)` for two arrays of one shape without equal values (Spearman's
# coefficient): the ordinary correlation of their ranks. (Maps that are made of patches do have
# equal values. `spearmanr`, used below, gives those the mean of their ranks.)
#
# <details><summary>Hint</summary>
#
# `argsort` says which entry comes first, second, third; the rank of an entry is its place in that list.
#
# </details>
#
# [Solution](solutions/what_does_it_hear.py)


# %%
def rank_correlation(a, b):
    """-> a number between -1 and 1"""
    return ...  # your code: replace this line


# %%
check.rank_correlation(rank_correlation)

# %%
# varies: training depends on the processor
STAGES = ["mlp_head", "norm", "blocks.3", "blocks.2", "blocks.1", "blocks.0", "patch_embed"]
X, y = X[:60], y[:60]  # clips with one sound
before, fresh, broken = all_maps(model, X, y), minast.AST(config, seed=99), minast.AST(config, seed=None)
broken.w.flat[...] = model.w.flat
kept = {name: [np.ones(len(X))] for name in before}
for stage in STAGES:
    for name, weight in broken.w.items():
        if name.startswith(stage):
            weight[...] = fresh.w[name]
    for name, now in all_maps(broken, X, y).items():
        kept[name].append([spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(before[name], now, strict=True)])
kept = {name: np.array(values) for name, values in kept.items()}  # (stages, clips)
draw.randomised(kept, ["nothing", *STAGES])

# %%
# varies: training depends on the processor


def left(name, stage):
    """What is left of a map after a stage: mean over clips and its standard error, in words."""
    values = kept[name][["nothing", *STAGES].index(stage)]
    return f"{values.mean():.2f} ± {values.std() / np.sqrt(len(values)):.2f}"


show.table(
    [[name, *(left(name, stage) for stage in ("mlp_head", "blocks.3", "blocks.0", "patch_embed"))] for name in kept],
    ["map", "head random", "and the last block", "and all blocks", "everything"],
)
first, last = ({name: values[i].mean() for name, values in kept.items()} for i in (1, -1))
show.say(
    f"With a random head alone, {min(first, key=first.get)} changes most ({left(min(first, key=first.get), 'mlp_head')}); "
    f"with everything random, {max(last, key=last.get)} keeps most of its picture "
    f"({left(max(last, key=last.get), 'patch_embed')})."
)
assert np.allclose(kept["rollout"][1], 1) and first["relevance"] < 0.9 and first["input x gradient"] < 0.9

# %% [markdown]
# Rollout does not notice at all that the head is random, for the head is not in its formula: the same map would
# "explain" every answer. It notices random blocks only as far as their attention changes. The relevance map changes at
# once, but may keep something in common with the true one: $A$ is one of its factors, and the blocks below the random
# weights still compute the true $A$. To pass this check best does not make a map the best one: compare the curves
# in 9.8. A map that fails it is no evidence; one that passes may still be poor.
#
# **3. The eye adds its own.** A map has no natural scale: which value is drawn in full colour is a choice. And no
# picture that is made from attention is finer than the patches it weighs, here of 16 frames and 16 mel bins. The same map
# twice:

# %%
# varies: training depends on the processor
largest, share = for_bell.max(), {}
for limit, words in ((largest, "the largest value"), (0.05 * largest, "a twentieth of it")):
    draw.relevance(segment_mel, {f"relevance for bell, full colour from {words} on": for_bell}, begin, limit=limit)
    share[words] = (for_bell >= limit / 2).mean()
show.say(
    "At least half of full colour: "
    + " against ".join(f"{s:.0%} of the picture where that is {words}" for words, s in share.items())
    + "."
)
assert share["a twentieth of it"] > 2 * share["the largest value"]

# %% [markdown]
# The same numbers look like "a few places decided it" or like "much of the segment did". Whoever shows one of the two
# has chosen what you see.
#
# ## What to remember
#
# - Attention weights say what is mixed, not what it is good for. After layer 1, token $j$ is no longer patch $j$.
# - Rollout multiplies $(A + I) / 2$ over layers. Rows sum to 1. It knows no class.
# - Relevance multiplies $I + G$ with $G$ the mean over heads of $\max(dA \odot A, 0)$; $dA = do\,v^\top$ comes out of
#   the backward pass. It answers for one class, also for a class that is not there: look at the score first.
# - Test a map before you believe it: delete what it points at, against chance and with more than one filling; redraw
#   the weights; ask for another class.
#
# ## Where this is in minast
#
# - [minast/explain.py](../minast/explain.py): `attention_maps`, `attention_gradients`, `rollout`, `relevance`,
#   `input_relevance`, `on_spectrogram`, `deletion`, `heard`
# - [minast/scoring.py](../minast/scoring.py): `sliding`, `scores_over_time`
# - [minast/plots.py](../minast/plots.py): `spectrogram`, `relevance`, `scores`
# - [tests/model/test_explain.py](../tests/model/test_explain.py): dA against finite differences, rollout and relevance against
#   dense products, a patch that nothing looks at
# - `python -m minast.predict CHECKPOINT FILE --explain why.png`: the relevance map of a file for its likeliest label
#
# ## Next
#
# This is the last notebook. Take a recording of your own and a model trained on your own sounds (`python -m
# minast.train FOLDER`), and run section 9.5 on a clip that it gets wrong: mistakes are what such maps are most useful
# for.
