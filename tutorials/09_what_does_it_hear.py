# %% [markdown]
# # 9. What does it hear?
#
# A classifier gives a number a class. Which part of the sound did that number come from, and how far can a picture be
# trusted that claims to show it? After this notebook you can
#
# - score a long recording over time, with segments that overlap;
# - read attention maps, and compute **attention rollout** and a **gradient-based relevance map** for any class;
# - cut out and play what mattered, and test a map by deleting what it points at;
# - name three ways in which such pictures mislead, and run the checks that find them out.
#
# **Needs:** notebooks 1 (spectrograms), 2 (patches), 4 (attention and its gradient) and 5 (training).
# **Takes:** about 40 minutes with the five exercises; the cells run in half a minute, most of which trains a model.

# %%
from functools import partial

import matplotlib.pyplot as plt
import numpy as np
from scipy.signal import decimate
from scipy.stats import spearmanr

import minast
import show
from exercises import what_does_it_hear as check
from minast import explain, optim, plots, scoring
from minast.checkpoint import Info
from minast.config import FeatureConfig, TrainConfig
from minast.datasets.common import Clip, Dataset
from minast.datasets.synthetic import generate, synth
from minast.features import model_inputs
from minast.training import batches
from minast.training.feature_cache import FeatureCache

RATE = 16000  # samples a second
LABELS = ["alarm", "bell", "bird", "siren", "speech"]

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


train, held_out = clips(1200, seed=0), clips(200, seed=1)
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
scores, truth = scoring.clip_scores(model, info, held_cache), held_out.targets(held_out.clips)
print(f"{config.grid[0]} x {config.grid[1]} patches, {model.parameters / 1e6:.2f} M weights")
print(f"{len(truth)} held-out clips: mAP {scoring.measures(scores, truth, 'bce')['mAP']:.3f}")
print(f"yes-or-no answers that are right: {((scores > 0.5) == (truth > 0.5)).mean():.1%}")
assert scoring.measures(scores, truth, "bce")["mAP"] > 0.8

# %% [markdown]
# mAP is the mean over classes of the average precision: how well clips that hold the class are ranked above those that
# do not; 1 is perfect. This model is decent and far from perfect, which suits a notebook about looking inside.

# %% [markdown]
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


def draw_plan(axes, rows=False):
    for label, start, stop in PLAN:
        if rows:
            axes.plot([start, stop], [LABELS.index(label) + 0.5] * 2, "r|-", linewidth=1.5, markersize=12)
        else:
            axes.axvspan(start, stop, ymin=0.95, color="red", alpha=0.6)
            axes.text((start + stop) / 2, 131, label, ha="center", color="red")


figure, (top, bottom) = plt.subplots(2, 1, figsize=(9, 6), sharex=True, layout="constrained")
plots.spectrogram(top, mel)
draw_plan(top)
plots.scores(bottom, starts, over_time, LABELS, seconds=1.0)
draw_plan(bottom, rows=True)
top.set_xlim(0, 7)
plt.show()
for label, start, stop in PLAN:
    without = (starts + 0.98 < start) | (starts > stop)  # segments that hold none of this sound
    false = int((over_time[without, LABELS.index(label)] > 0.5).sum())
    print(f"{label:7s} above one half in {false} of the {int(without.sum())} segments without it")

# %% [markdown]
# A score over time already answers the question "when?", to a segment's length, where the model is right. It is not always:
# the lines above count where it names a sound that is not there. Remember them when you listen in 9.7.
#
# For "which part of the segment?" we look inside. We take the segment in which speech and bell sound together.

# %%
at = int(np.argmin(np.abs(starts - 2.7)))
_, segments = scoring.sliding(mel, features, hop=10)  # (61, 98, 128), normalised
x, segment_mel, begin = segments[at : at + 1], mel[10 * at : 10 * at + 98], starts[at]
for label, p in zip(LABELS, over_time[at], strict=True):
    print(f"{label:7s} {p:.2f}")

# %% [markdown]
# ## 9.3 Attention maps
#
# Head $h$ of layer $l$ (of the $l$-th block) gathers for token $i$ the mean $o_i = \sum_j A_{ij} v_j$ with $A = \mathrm{softmax}(q k^\top /
# \sqrt{D})$ (notebook 4). Row $i$ of $A$ says how much of each token goes in; it sums to 1. The class token's output is
# all that the head of the model reads, so we draw the class token's row, laid out as patches.


# %%
def draw_patches(axes, values, title):
    """Values of the patches (8 along frequency, 9 along time), where they lie in the segment."""
    image = axes.imshow(values, origin="lower", aspect="auto", extent=(begin, begin + 0.98, 0, 128))
    axes.set_title(title, fontsize=10)
    return image


maps = minast.attention_maps(model, x)  # a (1, 3, 73, 73) a layer; of the last only the class token's row is computed
print("shapes:", [p.shape for p in maps])
assert all(np.allclose(p.sum(axis=-1), 1, atol=1e-5) for p in maps)
figure, axes = plt.subplots(3, 4, figsize=(9, 5), sharex=True, sharey=True, layout="constrained")
for layer, p in enumerate(maps):
    for head in range(3):
        row = explain.patch_grid(config, p[:, head, 0])[0]
        draw_patches(axes[head, layer], row, f"layer {layer + 1}, head {head + 1} ({row.sum():.0%})")
figure.supxlabel("time (s)")
figure.supylabel("mel bin")
plt.show()

# %% [markdown]
# Each picture has its own colour scale, bright is much. The number in its title says how much of the row goes to patches
# at all; the rest is the class token looking at itself. Three things to keep in mind.
#
# - In layer 1 the class token has seen nothing yet: its *query* is the same for each clip that ever comes in.
# - From layer 2 on, token $j$ is no longer patch $j$: layer 1 has already mixed the others into it.
# - A weight says how much of $v_j$ is taken, not what $v_j$ is, nor what the later layers make of it.
#
# ## 9.4 Attention rollout
#
# To undo the mixing, follow it. A block computes $x \leftarrow x + \mathrm{attention}(x)$, then adds an MLP, which
# treats each token alone. Suppose that both terms weigh the same, and forget values, norms and MLP. Then what a token
# holds after the block is a mean of what the tokens held before, with the weights
# $$B_l = \tfrac12 A_l + \tfrac12 I, \qquad\text{where } A_l \text{ is the mean over heads.}$$
# Block after block, the shares multiply: after $L$ blocks, token $i$ consists of patch $j$ by the share
# $$(B_L\, B_{L-1} \cdots B_1)_{ij}.$$
# Rows of each $B_l$ sum to 1, hence those of the product: $\sum_k B_{ik} \sum_j C_{kj} = \sum_k B_{ik} = 1$. This is
# attention rollout (Abnar and Zuidema, 2020).
#
# **Exercise 1.** Write `rollout(maps)`: `maps` is a list of arrays $(H, T, T)$, the first layer first. Return the class
# token's row of the product, shape $(T,)$. The class token is token 0.


# %%
def rollout(maps): ...  # your code: replace this line


# %%
check.rollout(rollout)

# %% [markdown]
# In minast it is `minast.rollout`. It goes from the last layer to the first, with one row instead of a matrix, and
# gives the patches' shares. `explain.on_spectrogram` lays them over the spectrogram: each frame and mel bin gets the
# mean of the patches that see it.

# %%
show.source(explain.roll)
shares = minast.rollout(model, x)  # (1, 8, 9)
print(f"{shares.sum():.1%} of the class token comes from the patches, the rest is its own")


def draw_maps(maps, titles, label="relevance", limit=None):
    _, axes = plt.subplots(1, len(maps), figsize=(9, 3), sharey=True, layout="constrained", squeeze=False)
    for axis, values, title in zip(axes[0], maps, titles, strict=True):
        plots.relevance(axis, segment_mel, values, start=begin, label=label, limit=limit)
        axis.set_title(title)
        axis.label_outer()
    plt.show()


draw_maps([explain.on_spectrogram(config, shares)[0]], ["rollout: where the class token's content comes from"], "share")

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
# Chefer, Gur and Wolf (2021) keep what speaks *for* the class, head by head, and only then take the mean over heads:
# $$G_l = \frac1H \sum_h \max(dA_l^{(h)} \odot A_l^{(h)},\, 0).$$
# $R_{ij}$, how relevant patch $j$ is to token $i$, starts as $R = I$: each token is itself. A block adds to a token
# what it gathered, weighed by $G$, and what those tokens were made of:
# $$R \leftarrow R + G_l R, \qquad l = 1 \dots L.$$
# The class token's row of $R$ is the relevance map of class $y$.
#
# **Exercise 2.** Write `weighted_attention(A, dA)`: $G$ from two arrays $(H, T, T)$, shape $(T, T)$.


# %%
def weighted_attention(A, dA): ...  # your code: replace this line


# %%
check.weighted_attention(weighted_attention)

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
draw_maps([for_speech, for_bell], ["relevance for speech", "relevance for bell"])

# %% [markdown]
# The same sound, the same weights, two questions: the maps differ. For the whole recording, the maps of all segments
# are averaged where they overlap. A map does not know whether its class is there at all, so each segment counts by its
# score.


# %%
def over_recording(k):
    """The mean of the segments' relevance maps for class k, each times the segment's probability of k: (698, 128)."""
    total, count = np.zeros(mel.shape), np.zeros((len(mel), 1))
    for i, values in enumerate(relevance_map(model, segments, k)):
        total[10 * i : 10 * i + 98] += over_time[i, k] * values
        count[10 * i : 10 * i + 98] += 1
    return total / np.maximum(count, 1)


everywhere = {label: over_recording(LABELS.index(label)) for label in ("bird", "speech", "bell", "alarm")}
figure, axes = plt.subplots(2, 1, figsize=(9, 5), sharex=True, layout="constrained")
for axis, label in zip(axes, ("speech", "bell"), strict=True):
    plots.relevance(axis, mel, everywhere[label])
    draw_plan(axis)
    axis.set_ylabel(f"for {label}\nfrequency (Hz)")
    axis.label_outer()
plt.show()

# %% [markdown]
# ## 9.6 Input x gradient
#
# The plainest map needs no attention: the gradient of the logit by the input itself, times the input. By the same
# first-order argument, $x_{tf}\, \partial y / \partial x_{tf}$ is about what $y$ would lose were the entry set to 0. It
# is signed and has the resolution of the spectrogram; and 0 means "the training data's mean", not silence.

# %%
plain_map = minast.input_relevance(model, x, bell)[0]
limit = np.quantile(abs(plain_map), 0.99)  # the largest hundredth in full colour: single entries stand out far
draw_maps([plain_map], ["input x gradient for bell: red speaks for it, blue against it"], "logits", limit=limit)

# %% [markdown]
# ## 9.7 Listening to what mattered
#
# Add up a map over frequency, and each frame has a number. The half second with the largest sum is what we cut out.
#
# **Exercise 3.** Frame $i$ covers `length` samples (400: 25 ms) and begins `shift` samples (160: 10 ms) after frame
# $i - 1$. Write `samples_of(first, last, shift, length)`, which returns two numbers: the first sample of the frames
# `first` to `last` (both included), and the sample after their last one.


# %%
def samples_of(first, last, shift, length): ...  # your code: replace this line


# %%
check.samples_of(samples_of)


# %%
def best_frames(values, frames=50):
    """The first and last of the `frames` frames in a row with the most relevance."""
    sums = np.convolve(values.sum(axis=1), np.ones(frames), mode="valid")
    return int(sums.argmax()), int(sums.argmax()) + frames - 1


for label, values in everywhere.items():
    first, last = best_frames(values)
    print(f"{label:7s} {first / 100:.2f} s to {last / 100 + 0.025:.3f} s")
    show.audio(wave[160 * first : 160 * last + 400], RATE, f"most relevant for {label}", normalise=True)

# %% [markdown]
# If a clip does not hold the sound that it is said to be most relevant for, look at the scores in 9.2: the model was
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
# **Exercise 4.** Write `most_relevant(values, k)`: a boolean array of the shape of `values`, True at its $k$ largest
# entries.


# %%
def most_relevant(values, k): ...  # your code: replace this line


# %%
check.most_relevant(most_relevant)

# %% [markdown]
# `explain.deletion` does it in blocks of 8 frames x 16 mel bins, so that each map deletes equal areas in equal shapes.
# We ask it of held-out clips with one sound, which the model recognises; the baseline is a map drawn by chance.

# %%
alone = [i for i, row in enumerate(truth) if row.sum() == 1 and scores[i, row.argmax()] > 0.5][:40]
X = np.concatenate([model_inputs(held_cache[i], features) for i in alone])  # (40, 98, 128)
y = truth[alone].argmax(axis=1)
rng = np.random.default_rng(3)


def all_maps(model, X, y):
    return {
        "relevance": relevance_map(model, X, y),
        "input x gradient": minast.input_relevance(model, X, y),
        "rollout": explain.on_spectrogram(config, minast.rollout(model, X)),
    }


areas = np.array([0, 0.05, 0.1, 0.2, 0.3, 0.5])
fills = {"the training data's mean (0)": 0.0, "each bin's least value in the clip": X.min(axis=1, keepdims=True)}
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), sharey=True, layout="constrained")
compared, falls = {**all_maps(model, X, y), "chance": rng.random(X.shape)}, {}
for axis, (filled, fill) in zip(axes, fills.items(), strict=True):
    curves = {n: explain.deletion(model, X, values, y, areas, fill).mean(axis=1) for n, values in compared.items()}
    falls[filled] = {n: c[0] - c[3] for n, c in curves.items()}  # a fifth deleted
    for n, c in curves.items():
        axis.plot(100 * areas, c, marker=".", color="grey" if n == "chance" else None, label=n)
    axis.set(title=f"replaced by {filled}", xlabel="deleted area (%)")
axes[0].set_ylabel("logit of the true class, mean of 40 clips")
axes[1].legend()
plt.show()
show.table([[n, *(falls[f][n] for f in fills)] for n in falls[filled]], ["fall at 20 %, replaced by", *fills])
assert all(
    min(fall["relevance"], fall["rollout"], fall["input x gradient"]) > fall["chance"] for fall in falls.values()
)

# %% [markdown]
# All three maps find what matters better than chance does. Two cautions. The two pictures ask
# the same question, "what if this were gone?", and differ: "gone" has no meaning for a spectrogram, only "replaced
# by", and a clip with holes is unlike anything that the model was trained on. And with one sound in the clip, "where
# is anything?" and "where is the bell?" have the same answer, so that even rollout, which knows no class, does well.
#
# Clips with two sounds tell them apart. We delete what a map calls most relevant and follow the logit of *one* of the
# two.

# %%
both = [i for i, row in enumerate(truth) if row.sum() == 2 and scores[i][row == 1].min() > 0.5][:40]
X2 = np.concatenate([model_inputs(held_cache[i], features) for i in both])
one, other = np.array([np.flatnonzero(truth[i]) for i in both]).T
rivals = {
    "relevance for this class": relevance_map(model, X2, one),
    "rollout": explain.on_spectrogram(config, minast.rollout(model, X2)),
    "relevance for the other class": relevance_map(model, X2, other),
    "chance": rng.random(X2.shape),
}
curves = {n: explain.deletion(model, X2, values, one, areas).mean(axis=1) for n, values in rivals.items()}
_, axes = plt.subplots(figsize=(9, 3.2), layout="constrained")
for n, c in curves.items():
    axes.plot(100 * areas, c, marker=".", color="grey" if n == "chance" else None, label=n)
axes.set(title=f"{len(both)} clips with two sounds", xlabel="deleted area (%)", ylabel="mean logit of this class")
axes.legend()
plt.show()
fall = {n: c[0] - c[2] for n, c in curves.items()}  # a tenth deleted
print({n: round(float(f), 2) for n, f in fall.items()})
assert fall["relevance for this class"] > max(fall["rollout"], fall["relevance for the other class"])

# %% [markdown]
# Deleting what speaks for this class costs its logit the most. What speaks for the other class may be deleted at little
# cost, or even to this class's good. Rollout mixes the two sounds: it cannot be asked for one of them.
#
# ## 9.9 How such pictures mislead
#
# **1. They answer any question.** Ask for a class that is not there, and a map comes out, with the same colours. Here
# is the segment with speech and bell again, asked for "siren".

# %%
for_siren = relevance_map(model, x, siren)[0]
print(f"probability of siren: {over_time[at, siren]:.2f}")
print(f"largest value: speech {for_speech.max():.3g}, bell {for_bell.max():.3g}, siren {for_siren.max():.3g}")
draw_maps([for_speech, for_siren], ["relevance for speech", "relevance for siren, which is not there"])

# %% [markdown]
# **2. Some ask the network nothing.** Adebayo and others (2018) propose a check: replace the weights by random ones,
# from the head downwards, and compare the map with the one before. A map that hardly changes cannot have shown what
# the network has learnt. Maps are compared by their *rank correlation*: the correlation of ranks, so that scale does
# not matter.
#
# **Exercise 5.** Write `rank_correlation(a, b)` for two arrays of one shape without equal values (Spearman's
# coefficient): replace each entry by its rank, then take the ordinary correlation. (Maps that are made of patches do have
# equal values. `spearmanr`, used below, gives those the mean of their ranks.)


# %%
def rank_correlation(a, b): ...  # your code: replace this line


# %%
check.rank_correlation(rank_correlation)

# %%
STAGES = ["mlp_head", "norm", "blocks.3", "blocks.2", "blocks.1", "blocks.0", "patch_embed"]
X, y = X[:20], y[:20]  # clips with one sound
before, fresh, broken = all_maps(model, X, y), minast.AST(config, seed=99), minast.AST(config, seed=None)
broken.w.flat[...] = model.w.flat
kept = {name: [1.0] for name in before}
for stage in STAGES:
    for name, weight in broken.w.items():
        if name.startswith(stage):
            weight[...] = fresh.w[name]
    for name, now in all_maps(broken, X, y).items():
        kept[name].append(np.mean([spearmanr(a.ravel(), b.ravel())[0] for a, b in zip(before[name], now, strict=True)]))

figure, axes = plt.subplots(figsize=(9, 3.5), layout="constrained")
for name, values in kept.items():
    axes.plot(values, marker="o", label=name)
axes.set_xticks(range(len(STAGES) + 1), ["nothing", *STAGES])
axes.set(xlabel="weights that are random, from the head down to here", ylabel="rank correlation with the true map")
axes.axhline(0, color="grey", linewidth=0.5)
axes.legend()
plt.show()
show.table([[n, *v] for n, v in kept.items()], ["map", "nothing", *STAGES])
assert np.isclose(kept["rollout"][1], 1) and kept["input x gradient"][1] < kept["relevance"][1] < 0.9

# %% [markdown]
# Rollout does not notice at all that the head is random, for the head is not in its formula: the same map would
# "explain" every answer. It notices random blocks only as far as their attention changes. The relevance map changes at
# once, but keeps something in common with the true one: $A$ is one of its factors, and the blocks below the random
# weights still compute the true $A$. Input x gradient loses the most at once, and passes best. That does not make it
# the best map: compare its curve in 9.8. A map that fails this check is no evidence; one that passes may still be
# poor.
#
# **3. The eye adds its own.** A map has no natural scale: which value is drawn in full colour is a choice. And no
# picture that is made from attention is finer than the patches it weighs, here of 16 frames and 16 mel bins. The same map
# twice:

# %%
largest = for_bell.max()
for limit, words in ((largest, "the largest value"), (0.05 * largest, "a twentieth of it")):
    draw_maps([for_bell], [f"relevance for bell, full colour from {words} on"], limit=limit)
    print(f"at least half of full colour: {(for_bell >= limit / 2).mean():.0%} of the picture")

# %% [markdown]
# The first picture says "a few places decided it", the second "a large part of the segment did, high and low, even before
# the bell begins". Whoever shows one of them has chosen what you see.
#
# ### What to remember
#
# - Attention weights say what is mixed, not what it is good for. After layer 1, token $j$ is no longer patch $j$.
# - Rollout multiplies $(A + I) / 2$ over layers. Rows sum to 1. It knows no class.
# - Relevance multiplies $I + G$ with $G$ the mean over heads of $\max(dA \odot A, 0)$; $dA = do\,v^\top$ comes out of
#   the backward pass. It answers for one class, also for a class that is not there: look at the score first.
# - Test a map before you believe it: delete what it points at, against chance and with more than one filling; redraw
#   the weights; ask for another class.
#
# ### Where this is in minast
#
# - [minast/explain.py](../minast/explain.py): `attention_maps`, `attention_gradients`, `rollout`, `relevance`,
#   `input_relevance`, `on_spectrogram`, `deletion`, `heard`
# - [minast/scoring.py](../minast/scoring.py): `sliding`, `scores_over_time`
# - [minast/plots.py](../minast/plots.py): `spectrogram`, `relevance`, `scores`
# - [tests/model/test_explain.py](../tests/model/test_explain.py): dA against finite differences, rollout and relevance against
#   dense products, a patch that nothing looks at
# - `python -m minast.predict CHECKPOINT FILE --explain why.png`: the relevance map of a file for its likeliest label
#
# ### Next
#
# This is the last notebook. Take a recording of your own and a model trained on your own sounds (`python -m
# minast.train FOLDER`), and run section 9.5 on a clip that it gets wrong: mistakes are what such maps are most useful
# for.
#
# Sources: Abnar and Zuidema 2020, "Quantifying attention flow in transformers"; Chefer, Gur, Wolf 2021, "Generic
# attention-model explainability for interpreting bi-modal and encoder-decoder transformers"; Adebayo and others 2018,
# "Sanity checks for saliency maps".
