# %% [markdown]
# # 0. Ten minutes
#
# ![You are here](pictures/here_00.svg)
#
# In ten minutes you train a transformer that recognises ten everyday sounds, play it a sound of your own, and see which
# part of the sound it listened to. No formula yet. Everything else in these notebooks answers one question: how?
#
# **Needs:** NumPy. No recordings, no graphics card, no network.

# %%
import os
from collections import Counter

import numpy as np

import minast
import show
from figures import ten_minutes as draw
from minast import explain_plot, scoring
from minast.datasets.synthetic import generate

show.style()

# %% [markdown]
# ## 0.1 Train
#
# minast makes ten kinds of sound from random numbers: sirens, telephones, clocks, engines, rain, bells, birds,
# heartbeats, alarms and a kind of speech. Each clip lasts a second, has its own pitch, speed, loudness and background
# noise, and no two are the same. The next cell shows 2400 of them, with their names, to a small **Audio Spectrogram
# Transformer** ([Gong, Chung, Glass 2021](https://arxiv.org/abs/2104.01778)) whose weights are random numbers. Three
# times over, about a minute in all, less on a fast machine. Run it, and watch the accuracy on 400 clips that are held
# out.

# %%
# varies: seconds, and in the last digits what is learnt
with show.scratch_folder():  # the run's files go away; classifier.save("ten_sounds.npz") would keep the model
    classifier = minast.Classifier.fit("builtin", depth=4, epochs=3)
print(classifier)
show.say(
    "The run lay in a scratch folder that is gone by now, so its last lines, about `runs/` and `minast.predict`, do not "
    'apply here; `classifier.save("ten_sounds.npz")` keeps the model.'
)

# %% [markdown]
# It began by guessing, one in ten. What has it learnt? Here is a clip that it has not met. Listen first, and decide for
# yourself.

# %%
# varies: trained weights
rate = classifier.features.rate
wave, _ = generate.clip(6, seed=1, rate=rate, split="valid")
show.audio(wave, rate, "what is it?", normalise=True)
for answer in classifier.predict(wave, top=3)["labels"]:
    print(f"{answer['label']:10s} {answer['probability']:.1%}")

# %% [markdown]
# One clip may be luck. Two hundred new ones, made for this test alone:

# %%
# varies: trained weights
clips = [generate.clip(i, seed=2, rate=rate, split="valid") for i in range(200)]
answers = classifier.predict([w for w, _ in clips], top=1)
heard = [a["labels"][0]["label"] for a in answers]
truth = [generate.LABELS[k] for _, k in clips]
right = sum(a == b for a, b in zip(heard, truth, strict=True))
share = right / len(clips)
error = (share * (1 - share) / len(clips)) ** 0.5
wrong = Counter(f"{t} taken for {h}" for h, t in zip(heard, truth, strict=True) if h != t)
show.say(
    f"Right: **{right} of {len(clips)}**, {share:.1%}, give or take {error:.1%} (one standard error). Guessing gives 10 %."
)
print("mistakes:", ", ".join(f"{what} ({n})" for what, n in wrong.most_common(4)) or "none")
assert share > 0.8

# %% [markdown]
# ## 0.2 What it sees
#
# The model has no ears. It gets a picture, a **spectrogram**: time to the right, low pitches at the bottom, high ones at
# the top, bright where there is power. One of each kind, and what the model says to it. Could you tell them apart?

# %%
# varies: trained weights
ten = {}
for i in range(10):
    sound, _ = generate.clip(i, seed=3, rate=rate, split="valid")
    best = classifier.predict(sound, top=1)["labels"][0]
    ten[f"{best['label']} {best['probability']:.0%}"] = classifier.read(sound)[1]
show.spectrograms(ten)

# %% [markdown]
# ## 0.3 A sound of your own
#
# Put the path of a recording into `MY_SOUND`, any length, any format that
# [soundfile](https://python-soundfile.readthedocs.io) reads (wav, flac, ogg, mp3), and run the cell again. A telephone
# records well enough. Whistle up and down like a siren; tap a table like a clock; hum; say a word. The default is no
# clip of minast's either, but a whistle from four lines of NumPy.

# %%
MY_SOUND = os.environ.get("MINAST_SOUND", "")  # or the path of yours: "whistle.wav"

if MY_SOUND:
    mine = minast.load_audio(MY_SOUND, rate=rate)
else:
    t = np.arange(3 * rate) / rate
    pitch = 1100 * 1.6 ** np.sin(2 * np.pi * 0.8 * t)  # Hz, up and down
    mine = 0.1 * np.sin(2 * np.pi * np.cumsum(pitch) / rate)
    mine += 0.003 * np.random.default_rng(0).standard_normal(len(t))
    mine = mine.astype(np.float32)
show.audio(mine[: 10 * rate], rate, "your sound", normalise=True)

# %%
# varies: trained weights
result = classifier.predict(mine, top=10)["labels"]
show.bars([r["label"] for r in result], {"probability": [r["probability"] for r in result]}, title="your sound",
          ylabel="probability", limits={"ylim": (0, 1)})  # fmt: skip
show.say(f"It says **{result[0]['label']}**, with a probability of {result[0]['probability']:.0%}.")

# %% [markdown]
# Ten names are all that it knows: whatever it hears, it must choose among them, and the ten probabilities sum to one.
# A dog is a bird to it, or a bell. Your own names take a folder of recordings for each:
# `minast.Classifier.fit("my_sounds/")`, and about as long, or a few minutes.
#
# ## 0.4 Where did it hear that?
#
# A name alone could be luck, or a trick: perhaps it listens to the background. So ask it: *which part of this sound made
# you say so?* The answer is a map over the spectrogram, red where it matters.

# %%
# varies: trained weights
mel = classifier.read(mine)[1]
name = result[0]["label"]
values = explain_plot.relevance_over_time(classifier.model, classifier.info, mel, classifier.labels.index(name))
draw.where(mel, {f"where it hears “{name}”": values})

# %% [markdown]
# The model was never told where in a clip a sound is, nor that it has a pitch. It found that out from names. Seconds
# are judged one by one, each on its own scale times its probability; where there is less red the model need not have
# heard less ([notebook 9](09_what_does_it_hear.ipynb)).
#
# ## 0.5 One recording, several questions
#
# Now a recording with more in it: bird, telephone and speech, one after the other in noise. The model slides over it, a
# second at a time:

# %%
street = 0.002 * np.random.default_rng(5).standard_normal(6 * rate)
SCENE = [("bird", 0.5), ("telephone", 2.4), ("speech", 4.3)]
for number, (label, start) in enumerate(SCENE):
    sound, _ = generate.clip(generate.LABELS.index(label) + 10 * number, seed=8, rate=rate, split="valid")
    sound = sound / np.sqrt(np.mean(sound**2)) * 0.05
    street[int(start * rate) : int(start * rate) + len(sound)] += sound
street = street.astype(np.float32)
show.audio(street, rate, "a street that does not exist", normalise=True)

# %%
# varies: trained weights
mel = classifier.read(street)[1]
starts, scores = scoring.scores_over_time(classifier.model, classifier.info, mel, hop=10)
draw.when(mel, starts, scores, classifier.labels)

# %%
# varies: trained weights
called = np.array(classifier.labels)[scores.argmax(axis=1)]  # the likeliest name of each segment
middle = starts + 0.5  # s
inside = {label: (start <= middle) & (middle < start + 1) for label, start in SCENE}
for label, within in inside.items():
    others = Counter(called[within & (called != label)].tolist()).most_common(1)
    most = f"; most often else: {others[0][0]} ({others[0][1]})" if others else ""
    show.say(
        f"Of the {within.sum()} segments whose middle lies in the {label}, "
        f"{(called[within] == label).sum()} are called {label}{most}."
    )
noise = Counter(called[~np.any(list(inside.values()), axis=0)].tolist())
names = ", ".join(f"{name} ({n})" for name, n in noise.most_common())
show.say(
    f"Where the middle is noise and a neighbour at most reaches in, it must still choose a name (0.3). Here: {names}."
)
assert sum(noise.values()) + sum(within.sum() for within in inside.values()) == len(starts)

# %% [markdown]
# It learnt from clips that hold one sound each, which fills most of the second. A segment that holds only the end of a
# sound, or nothing, is unlike all of them.
#
# Now two questions about one recording. *Where do you hear the bird? Where the telephone?* Same sound, same model; the
# red moves.

# %%
# varies: trained weights
maps = {
    f"where it hears “{label}”": explain_plot.relevance_over_time(
        classifier.model, classifier.info, mel, classifier.labels.index(label)
    )
    for label in ("bird", "telephone")
}
draw.where(mel, maps)

# %% [markdown]
# ## 0.6 How?
#
# No library for neural networks was used, and no derivative was computed for you: all that you have just run is NumPy,
# in files short enough to read. This is the whole way of a clip of ten seconds through the full-size model, with the
# shapes of its arrays.
#
# ![AST from the waveform to the label, with shapes](pictures/ast.svg)
#
# | You may ask | it is answered in |
# | --- | --- |
# | How does a sound become a picture, and why this one? | [1. Sound to pictures](01_sound_to_pictures.ipynb) |
# | A transformer reads words. What are the words here? | [2. Patches](02_patches.ipynb) |
# | How did it learn? Who computed all the derivatives? | [3. Backprop by hand](03_backprop.ipynb) |
# | How does one part of the sound get to know of another? | [4. Attention](04_attention.ipynb) |
# | What do twelve layers add, and what if training fails? | [5. The encoder, trained](05_encoder_trained.ipynb) |
# | Why does a model that has seen a million photographs hear better? | [6. From ViT to AST](06_vit_to_ast.ipynb) |
# | What does a graphics card do with it? | [7. Your first kernel](07_first_kernel.ipynb) |
# | Why is the fast way fast? | [8. Fast attention](08_fast_attention.ipynb) |
# | Can I trust the red spots? | [9. What does it hear](09_what_does_it_hear.ipynb) |
#
# In a hurry for one thing? Gradients: 3, then 4. Sound: 1, 2, 9. Graphics cards: 2, 3, 7, 8. Everything: in order.
#
# ## What to remember
#
# * A transformer for sound trains in about a minute on two cores, less on a fast machine, from random numbers to nearly every
#   clip.
# * It sees a spectrogram. It must choose among its names, however strange the sound.
# * Relevance maps show where an answer comes from. Whether they are true is a question of its own.
#
# ## Where this is in minast
#
# * [minast/classifier.py](../minast/classifier.py): `fit`, `predict`, `save`, `load`; the same as `python -m minast.train` and
#   `python -m minast.predict` in a shell.
# * [minast/datasets/synthetic/](../minast/datasets/synthetic/): the ten sounds.
# * [minast/explain.py](../minast/explain.py): the relevance maps.
#
# ## Next
#
# [1. Sound to pictures](01_sound_to_pictures.ipynb): what the model sees, and how to make it.
