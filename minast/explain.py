"""What does the model attend to? Attention maps, attention rollout, gradient-weighted attention, input x gradient.

All of these come from the model's own forward and backward pass: hooks around its attention functions see the
probabilities A, and the gradient dA of one class's logit with respect to them. The model does not change, nor do its
gradients `dw`. Results are NumPy arrays.

    maps = relevance(model, x, classes=3)               # x (B, T, F) normalised, as for model.forward -> (B, gf, gt)
    image = on_spectrogram(model.config, maps)          # (B, T, F)

How such pictures mislead. They always show something, even for random weights (Adebayo et al. 2018, "Sanity checks for
saliency maps"): randomise the weights and see whether the map changes. Rollout does not depend on the class. A map of
the wrong class looks as convincing as one of the right class. And no map shows what the model would do without a patch:
`deletion` tests that, with inputs unlike any that the model was trained on. Shapes: as in layers.py, L layers.

Every function that takes a model raises minast.Error for an x that does not fit it, for an empty batch, and for classes
that it does not have. classes: one class index, or one per clip (B,), or None for the most likely class of each clip.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .bfloat16 import to_float32
from .config import PATCH, ModelConfig
from .errors import Error
from .features import frame_count, hz_of, sizes
from .layers import Array, Cache, array_module, softmax_forward, unfold_backward
from .model import AST

TOKENS = 2048  # per pass through the model: a layer has heads * tokens^2 probabilities per clip


# -- maps ----------------------------------------------------------------------------------------------------------


def attention_maps(model: AST, x: Array) -> list[np.ndarray]:
    """A = softmax(q k^T / sqrt(D)) of each layer.   x (B, T, F) normalised -> L arrays (B, H, tokens, tokens)

    A[b, h, i, j] is the weight of token j in head h's output for token i; rows sum to 1. In the last layer only the
    rows of the prefix tokens reach the model's head, and only they are computed: (B, H, P, tokens). Prefix tokens come
    first, then patch f * grid_time + t. A 10 s clip takes 0.8 GB with AST base: prefer `rollout`, which averages heads.
    Source: Vaswani et al. 2017, equation 1.

        minast.attention_maps(model, x)[-1].mean(axis=1)      # last layer, mean over heads: (B, P, tokens)
    """
    return _by_layer(model, x, "forward", lambda seen, at: seen.forward(x[at]))


def attention_gradients(model: AST, x: Array, classes: int | Array | None = None) -> list[np.ndarray]:
    """dA, the gradient of a class's logit with respect to each probability.   x (B, T, F) -> as `attention_maps`

    dA = do v^T, with do the gradient of an attention head's output o = A v: attention's backward pass before softmax.
    Probabilities are treated as independent, so the rows of dA need not sum to 0.
    """
    chosen = _classes(model, x, classes)
    last_first = _by_layer(model, x, "backward", lambda seen, at: seen.input_grad(x[at], _one_hot(model, chosen[at])))
    return last_first[::-1]


def rollout(model: AST, x: Array) -> np.ndarray:
    """Attention rollout: mean over prefix tokens of (B_L ... B_2 B_1), B = (A + I) / 2.   x (B, T, F) -> (B, gf, gt)

    A is the mean over heads; I / 2 accounts for the residual stream. The rows of B, and of the product, sum to 1: the
    patches' values sum to less, the rest belongs to the prefix tokens. Source: Abnar and Zuidema 2020, "Quantifying
    attention flow in transformers", section 3. Misleading: it uses only attention, not values, MLPs or the head, so it
    is the same for every class, and after many layers of flat attention nearly the same for every patch.

        minast.rollout(model, x)[0]                            # the first clip: (gf, gt), per patch
    """

    def heads_mean(part):
        maps = []
        _hooked(model, forward=lambda p: maps.append(p.mean(axis=1, keepdims=True))).forward(part)
        return model.numpy(roll(maps))

    rows = np.concatenate([heads_mean(x[at]) for at in _parts(model, x)])
    return patch_grid(model.config, rows)


def roll(maps: Sequence[Array]) -> Array:
    """The product of `rollout`, from the last layer to the first: row times matrix in each step.

    maps: L arrays (B, H, tokens, tokens), the last may have only its first P rows -> (B, tokens); rows sum to 1
    """
    rows = None
    for p in reversed(maps):
        p = p.mean(axis=1)  # (B, tokens or P, tokens)
        if rows is None:
            xp, (P, tokens) = array_module(p), p.shape[1:]
            rows = 0.5 * p + 0.5 * xp.eye(P, tokens, dtype=p.dtype)
        else:
            rows = 0.5 * (rows @ p) + 0.5 * rows
    return rows.mean(axis=1)


def relevance(model: AST, x: Array, classes: int | Array | None = None) -> np.ndarray:
    """Gradient-weighted attention: R = (I + G_L) ... (I + G_1), G = mean over heads of max(dA * A, 0).

    x (B, T, F) normalised -> (B, gf, gt): the mean of the prefix tokens' rows of R, at the patches. Never negative.
    dA is the gradient of one class's logit with respect to A, so dA * A is roughly what the logit would lose without
    that probability, in logits. Products over layers mix orders: compare only patches of one clip. Source: Chefer, Gur,
    Wolf, ICCV 2021, "Generic attention-model explainability", equations 5 and 6 (R <- R + G R for self-attention), here
    from the last layer to the first, which needs only rows. Misleading: it drops all evidence against the class, and
    does not say whether the class is present at all.

        explain.on_spectrogram(model.config, minast.relevance(model, x, classes=3))    # (B, T, F), to draw
    """
    chosen, xp, P = _classes(model, x, classes), model.xp, model.config.prefix_tokens

    def prefix_rows(part, classes):
        rows = xp.eye(P, model.config.tokens, dtype=model.dtype)[None]  # (1, P, tokens): the prefix rows of I

        def backward(p, dp):  # the last layer comes first; its p has only the rows of the prefix tokens
            nonlocal rows
            weighted = xp.maximum(p * dp, 0).mean(axis=1)  # (B, tokens or P, tokens)
            rows = rows + rows[:, :, : weighted.shape[1]] @ weighted

        _hooked(model, backward=backward).input_grad(part, _one_hot(model, classes))
        return model.numpy(rows.mean(axis=1))

    rows = np.concatenate([prefix_rows(x[at], chosen[at]) for at in _parts(model, x)])
    return patch_grid(model.config, rows)


def input_relevance(model: AST, x: Array, classes: int | Array | None = None) -> np.ndarray:
    """Input x gradient: x * d logit / d x, signed, in logits.   x (B, T, F) normalised -> (B, T, F)

    Minus the first-order change of the class's logit if an entry were set to 0: the training data's mean, not silence.
    Exactly 0 where no patch covers the input. Misleading: noisy from bin to bin, as gradients of deep networks are;
    near 0 where x is near its mean, however much the model relies on it. Source: Shrikumar et al. 2016, "Not just a
    black box".

        minast.input_relevance(model, x).sum(axis=2)           # by frame: (B, T), for the likeliest class
    """
    chosen, x = _classes(model, x, classes), model._checked(x)
    hooked = _hooked(model)
    return np.concatenate(
        [model.numpy(x[at] * hooked.input_grad(x[at], _one_hot(model, chosen[at]))) for at in _parts(model, x)]
    )


# -- patches and spectrograms --------------------------------------------------------------------------------------


def patch_grid(config: ModelConfig, rows: Array) -> Array:
    """The patches' part of one value per token, as a grid.   rows (..., P + N) -> (..., gf, gt)"""
    return rows[..., config.prefix_tokens :].reshape(*rows.shape[:-1], *config.grid)


def on_spectrogram(config: ModelConfig, patches: Array) -> np.ndarray:
    """For each frame and bin the mean over the patches that cover it, 0 if none does.   (B, gf, gt) -> (B, T, F)

    Raises minast.Error for another grid than the config's.
    """
    patches = np.asarray(patches, np.result_type(patches, np.float32))
    if patches.ndim != 3 or patches.shape[1:] != config.grid:
        raise Error(
            f"the patch values have shape {patches.shape}: this model's are (clips, {config.grid[0]} along "
            f"frequency, {config.grid[1]} along time)."
        )
    cache = ((len(patches), config.frames, config.mel_bins), config.fstride, config.tstride, PATCH)

    def spread(values):  # unfold's adjoint sums over the patches that cover an entry
        return unfold_backward(np.repeat(values.reshape(len(values), -1, 1), PATCH * PATCH, axis=2), cache)

    return spread(patches) / np.maximum(spread(np.ones_like(patches)), 1)


def deletion(
    model: AST,
    x: Array,
    values: Array,
    classes: int | Array | None,
    shares: Sequence[float],
    fill: float | Array = 0.0,
    block: tuple[int, int] = (8, 16),
) -> np.ndarray:
    """Logits of a class as more and more of the input is deleted, the most relevant first. -> (len(shares), B)

    x (B, T, F) normalised; values (B, T, F), any map; shares: of the area to delete, each 0 to 1; fill: replaces the
    deleted input, a number or an array that broadcasts to x. Blocks of `block` frames x bins are deleted in the order
    of their mean value, so that different maps delete equal areas of equal shape. Compare with random `values`: for a
    good map logits fall faster. Another `fill` can change the result. Raises minast.Error if values and x differ in
    shape. Source: the deletion metric of Petsiuk et al. 2018 (RISE).
    """
    x, chosen = model.numpy(model._checked(x)), _classes(model, x, classes)
    if np.shape(values) != x.shape:
        raise Error(f"the map has shape {np.shape(values)}, the input {x.shape}: they must be the same.")
    (B, T, F), (dt, df) = x.shape, block
    gt, gf = T // dt, F // df  # an incomplete block at the end is never deleted
    mean = np.asarray(values)[:, : gt * dt, : gf * df].reshape(B, gt, dt, gf, df).mean(axis=(2, 4)).reshape(B, -1)
    rank = np.argsort(np.argsort(-mean, axis=1, kind="stable"), axis=1).reshape(B, gt, gf)  # 0: the most relevant
    out = np.empty((len(shares), B))
    for row, share in zip(out, shares, strict=True):
        gone = np.zeros(x.shape, bool)
        gone[:, : gt * dt, : gf * df] = (rank < round(share * gt * gf)).repeat(dt, axis=1).repeat(df, axis=2)
        row[:] = model.numpy(model.forward(np.where(gone, fill, x)))[np.arange(B), chosen]
    return out


def heard(wave: np.ndarray, values: np.ndarray, rate: int = 16000) -> np.ndarray:
    """The sound weighted by a map: every time and frequency times the map's value, scaled to a maximum of 1.

    wave (S,) at `rate` Hz, values (T, F) for the frames and bins of `log_mel(wave, rate)`, not negative -> (S,). Gains
    are interpolated between mel bins and between frames; phases are unchanged. Raises minast.Error for another number
    of frames or a negative value. Misleading: what the model used may lie anywhere within a patch (16 frames, 16 bins)
    of what is heard.
    """
    from scipy.signal import istft, stft

    frame, shift, fft_size = sizes(rate)
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or len(values) != frame_count(len(wave), rate) or not values.min() >= 0:
        raise Error(
            f"the map has shape {values.shape} and its minimum is {values.min() if values.size else 'none'}: it "
            f"must be ({frame_count(len(wave), rate)} frames of this sound, mel bins) and not negative."
        )
    hz, seconds, spectrum = stft(wave, rate, nperseg=fft_size, noverlap=fft_size - shift)  # (bins, frames)
    T, F = values.shape
    gain = values / (values.max() or 1)
    gain = np.stack([np.interp(seconds, (np.arange(T) * shift + frame / 2) / rate, g) for g in gain.T])  # (F, frames)
    gain = np.stack([np.interp(hz, hz_of(np.arange(F), rate, F), g) for g in gain.T], axis=1)  # (bins, frames)
    return istft(gain * spectrum, rate, nperseg=fft_size, noverlap=fft_size - shift)[1][: len(wave)]


# -- hooks in attention --------------------------------------------------------------------------------------------


class HookedLayers:
    """Layer functions of any backend, with hooks in attention: forward(p) and backward(p, dp), both (B, H, rows, T).

    Everything else is passed through. With a `bias` (of qkv, added by the 16-bit kernels) p and dp include it, in
    float32.
    """

    def __init__(
        self,
        layers: Any,
        forward: Callable[[Array], Any] | None = None,
        backward: Callable[[Array, Array], Any] | None = None,
    ):
        self.layers, self.forward, self.backward = layers, forward, backward

    def __getattr__(self, name):
        return getattr(self.layers, name)

    def attention_forward(self, qkv: Array, heads: int, **bias: Array) -> tuple[Array, Cache]:
        """As layers.attention_forward; calls the hook forward(p)."""
        seen = _with_bias(qkv, **bias)  # first: a kernel adds their bias to the queries in place
        o, cache = self.layers.attention_forward(qkv, heads, **bias)
        if self.forward:
            self.forward(_probabilities(*_split(seen, 3, heads)[:2]))
        return o, (seen, heads, cache)

    def attention_backward(self, do: Array, cache: Cache, **options: Any) -> Array:
        """As layers.attention_backward; calls the hook backward(p, dp)."""
        qkv, heads, cache = cache
        if self.backward:
            q, k, v = _split(qkv, 3, heads)
            self.backward(_probabilities(q, k), _split(_with_bias(do), 1, heads)[0] @ v.swapaxes(-1, -2))
        return self.layers.attention_backward(do, cache, **options)

    def class_attention_forward(self, q: Array, kv: Array, heads: int, **bias: Array) -> tuple[Array, Cache]:
        """As layers.class_attention_forward; calls the hook forward(p)."""
        C, both = q.shape[-1], bias.get("bias")
        queries = _with_bias(q, None if both is None else both[:C])
        keys = _with_bias(kv, None if both is None else both[C:])
        o, cache = self.layers.class_attention_forward(q, kv, heads, **bias)
        if self.forward:
            self.forward(_probabilities(_split(queries, 1, heads)[0], _split(keys, 2, heads)[0]))
        return o, (queries, keys, heads, cache)

    def class_attention_backward(self, do: Array, cache: Cache) -> tuple[Array, Array]:
        """As layers.class_attention_backward; calls the hook backward(p, dp)."""
        q, kv, heads, cache = cache
        if self.backward:
            k, v = _split(kv, 2, heads)
            p = _probabilities(_split(q, 1, heads)[0], k)
            self.backward(p, _split(_with_bias(do), 1, heads)[0] @ v.swapaxes(-1, -2))
        return self.layers.class_attention_backward(do, cache)


def _with_bias(x, bias=None):
    """x + bias; x itself if there is none. 16-bit types become float32."""
    x = to_float32(x) if x.dtype.itemsize == 2 else x
    return x if bias is None else x + bias


def _split(x, parts, heads):
    """(B, T, parts H D) -> (parts, B, H, T, D)"""
    B, T, C = x.shape
    return x.reshape(B, T, parts, heads, C // parts // heads).transpose(2, 0, 3, 1, 4)


def _probabilities(q, k):
    """softmax(q k^T / sqrt(D)).   q (B, H, rows, D), k (B, H, T, D) -> (B, H, rows, T)"""
    return softmax_forward((q * q.shape[-1] ** -0.5) @ k.swapaxes(-1, -2))[0]


def _hooked(model, forward=None, backward=None):
    """The same model with hooks in attention and its own gradient array."""
    return model.with_layers(HookedLayers(model.layers, forward, backward))


def _parts(model, x):
    """Slices of clips for one pass each, small enough that `forward` does not split them again."""
    clips = len(model._checked(x))
    if not clips:
        raise Error("there are no clips in the input: it must have at least one.")
    tokens = min(TOKENS, (model.backend.batch_elements or math.inf) / model.config.dim)
    step = max(1, int(tokens // model.config.tokens))
    return [slice(i, i + step) for i in range(0, clips, step)]


def _by_layer(model, x, hook, run):
    """The last argument of each call of `hook` (p forward, dp backward), by layer in the order run, clips joined."""
    parts = []
    for at in _parts(model, x):
        found = []
        run(_hooked(model, **{hook: lambda *args, found=found: found.append(model.numpy(args[-1]))}), at)
        parts.append(found)
    return [np.concatenate(layer) for layer in zip(*parts, strict=True)]


def _one_hot(model, classes):
    """The gradient of one logit per clip with respect to all logits.   (B,) -> (B, K)"""
    return np.eye(model.config.classes, dtype=model.dtype)[classes]


def _classes(model, x, classes):
    """One class index per clip: (B,)"""
    clips, K = len(model._checked(x)), model.config.classes
    if classes is None:
        return model.numpy(model.forward(x)).argmax(axis=1)
    chosen = np.asarray(classes)
    if chosen.dtype.kind not in "iu" or chosen.shape not in ((), (clips,)):
        raise Error(f"classes are {classes!r}: give one class index, or one for each of the {clips} clips.")
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < K):
        raise Error(f"classes are {classes!r}: the model has the {K} classes 0 to {K - 1}.")
    return np.broadcast_to(chosen, (clips,))
