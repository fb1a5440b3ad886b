"""The inputs of the golden comparisons, made again from their names instead of stored. NumPy only: the tests use it.

Every array is drawn from the raw bits of PCG64 seeded with the CRC of its name. NumPy promises that those bits never
change, which it does not for `normal` or `uniform`; and an array depends on nothing but its own name and shape.
"""

import zlib

import numpy as np

RATES = {16000: 126, 44100: 128, 8000: 95}  # -> most mel filters (of up to 128) that Kaldi's C++ takes: none is empty
WINDOWS = ("hamming", "hann")

MODELS = {  # 12 layers each; every size that may differ does, and the one-token model leaves edges that no patch sees
    "two_tokens": {
        "config": {"dim": 12, "heads": 3, "mel_bins": 32, "frames": 36, "classes": 5, "prefix_tokens": 2},
        "clips": 2,
        "losses": ("bce", "hard", "soft"),
    },
    "one_token": {
        "config": {
            **{"dim": 9, "heads": 3, "mel_bins": 33, "frames": 44, "classes": 4, "prefix_tokens": 1},
            **{"fstride": 7, "tstride": 5, "gelu": "tanh", "encoder_eps": 1e-3, "head_eps": 1e-2},
        },
        "clips": 2,
        "losses": ("soft",),
    },
}

OPTIMIZERS = {
    "adam_ast": {"betas": (0.95, 0.999), "weight_decay": 5e-7, "decoupled": False},
    "adam_heavy": {"betas": (0.95, 0.999), "weight_decay": 0.1, "decoupled": False},
    "adamw": {"betas": (0.9, 0.98), "weight_decay": 0.05, "decoupled": True},
}
STEPS, LR = 10, 3e-3
CLIP = 1.0  # of the gradients below some are longer and some shorter

# layer -> shapes of its inputs; B = 1, T = 7, C = 13 and the like
LAYERNORM = {"x": (2, 7, 13), "w": (13,), "b": (13,), "dy": (2, 7, 13)}
GELU = {"x": (3, 41), "dy": (3, 41)}
ATTENTION = {"qkv": (2, 7, 3 * 15), "do": (2, 7, 15)}
HEADS = 3
UNFOLD = {"x": (2, 29, 23), "dpatches": (2, 2 * 5, 256)}  # (B, T, F)
STRIDES = (5, 3)  # frequency, time
LOSS = {"logits": (4, 6), "soft": (4, 6)}


def uniform(name, shape, low=-1.0, high=1.0):
    """float64 in [low, high), from the name alone."""
    count = int(np.prod(shape))
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(count)
    return low + (high - low) * (bits >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def inputs(layer, shapes):
    """Name -> array, within +-2, for a layer's test."""
    return {name: uniform(f"{layer} {name}", shape, -2, 2) for name, shape in shapes.items()}


def wave(rate):
    """0.3 s of a rising tone in noise, with an offset, as float32 in [-1, 1].

    The noise is stronger at low frequencies, as natural sound is. A filter 15 nats (65 dB) below the loudest of its
    frame is down in the rounding of a float32 FFT and agrees to 1e-3 at best, Kaldi's and torchaudio's own included.
    """
    t = np.arange(int(0.3 * rate)) / rate
    chirp = 0.2 * np.sin(2 * np.pi * (100 * t + 0.4 * rate / 0.6 * t * t))  # 100 Hz to 0.4 of the rate
    noise = np.convolve(uniform(f"wave {rate}", t.shape, -0.1, 0.1), 0.9 ** np.arange(200))[: len(t)]
    return (chirp + noise + 0.05).astype(np.float32)


def weight(model, name, shape):
    """A weight that hides nothing: biases are not 0, norms are not 1, attention is not flat."""
    low, high = -1.0, 1.0
    if len(shape) == 2 and name != "pos_embed":
        low, high = -2.2 / shape[1] ** 0.5, 2.2 / shape[1] ** 0.5
    elif name.endswith("weight"):  # norms
        low, high = 0.5, 1.5
    elif name.endswith("bias"):
        low, high = -0.5, 0.5
    return uniform(f"{model} {name}", shape, low, high)


def batch(model):
    """(x (B, T, F), {loss: targets}) of a model."""
    c, clips = MODELS[model]["config"], MODELS[model]["clips"]
    x = uniform(f"{model} x", (clips, c["frames"], c["mel_bins"]), -2, 2)
    soft = uniform(f"{model} soft", (clips, c["classes"]), 0, 1)
    targets = {
        "bce": uniform(f"{model} bce", (clips, c["classes"]), 0, 1),
        "hard": np.arange(clips) * 3 % c["classes"],
        "soft": soft / soft.sum(axis=1, keepdims=True),
    }
    return x, targets


def losses():
    """(logits (4, 6), {loss: targets}): logits of +-1000 among small ones."""
    x = inputs("loss", LOSS)
    logits, soft = 3 * x["logits"], abs(x["soft"])
    logits[0, :3] = 1000, -1000, 1000
    logits[1] = -1000
    logits[2, 4] = 1000
    targets = {"bce": (soft > 1).astype(np.float64), "hard": np.array([0, 3, 1, 5])}
    targets["soft"] = soft / soft.sum(axis=1, keepdims=True)
    return logits, targets


def optimizer_inputs():
    """(w (37,), gradients (10, 37)): of very different sizes, as layers have them."""
    sizes = 10.0 ** np.linspace(-3, 0, 37)
    return uniform("optimizer w", (37,)), uniform("optimizer g", (STEPS, 37)) * sizes
