"""The Audio Spectrogram Transformer: composition only. Backward is forward's lines in reverse order.

Source: Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021; encoder as in DeiT (pre-norm).
Gradients are ADDED to `model.dw`: call `zero_grad` before a new step, or say `add=False` in its first pass.
"""

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import numpy as np

from . import accepted, init
from .backend import choose, to_numpy, weights_dtype
from .config import ModelConfig
from .gpu.adding import overwriting
from .gpu.executor import Executor
from .layers import Array
from .params import Views, flat_size, shapes, zeros


class AST:
    """x (B, T, F), normalised log-mel -> logits (B, K). Weights in `w`, gradients in `dw`, by the official names.

    config: ModelConfig. backend: a name, see `backend.Backend`; None: the best one available.
    seed: of the initial weights; None leaves them zero, to be filled.
    dtype: the compute dtype: "float32"; "float64", for gradient checks on the numpy backend; "tf32", "bfloat16" or
      "float16" on the backends cuda and emulator. With "tf32" all is float32, but products round their operands
      (cuda/tf32.py). In 16 bits the encoder (cuda/half_encoder.py) reads a 16-bit copy of the weights,
      which stay float32: call `weights_changed` after writing to `w` other than by an optimizer in training.
    activation_checkpointing: keep only each block's input and recompute the rest in the backward pass; the gradients
      are the same.
    cuda_graphs: on the backend cuda, capture each pass as a CUDA graph when its shapes occur again, and replay it.
    Raises minast.Error for an unknown or unavailable backend or dtype.

        model = AST(ModelConfig.preset("tiny", classes=10, frames=128))
        adam = model.backend.Adam(model.w.flat)
        loss, logits = model.loss_and_grad(x, y, loss="ce")      # x (B, 128, 128), y (B,): adds to model.dw
        adam.step(model.dw.flat, lr=1e-4)
        model.zero_grad()
    """

    report: Any = None  # of pretrained.load: what became of every array
    frozen: int = 0  # `loss_and_grad` computes no gradients of the embeddings and of so many lowest blocks; 0: of all
    _listener: Callable[[int], object] | None = None  # see `telling`
    told: Callable[[int], object] | None = None  # the same, while the last part of a batch is computed

    def __init__(
        self,
        config: ModelConfig,
        backend: str | None = None,
        seed: int | None = 0,
        dtype: str = "float32",
        activation_checkpointing: bool = False,
        cuda_graphs: bool = False,
    ):
        self.config, self.backend = config, choose(backend)
        self.activation_checkpointing, self.cuda_graphs = activation_checkpointing, cuda_graphs
        self.xp, self.compute_dtype = self.backend.xp, self.backend.checked_dtype(dtype)
        self.layers = self.backend.layers_in(self.compute_dtype)
        self.dtype = weights_dtype(self.compute_dtype)
        self.w = zeros(shapes(config), self.dtype, self.xp)
        self.dw = zeros(shapes(config), self.dtype, self.xp)
        self.encoder = self.backend.encoder(config, self.w, self.dw, self.compute_dtype)
        self.overwrites = self.backend.plans_memory(config, self.compute_dtype)  # kernels do: see gpu/adding.py
        self.executor = Executor(self.xp, planned=self.overwrites)
        if seed is not None:
            init.fresh(self, np.random.default_rng(seed))

    def __repr__(self):
        c = self.config
        size = f"{self.parameters / 1e6:.2f} M weights, {c.depth} blocks, {c.tokens} tokens, {c.classes} classes"
        return f"<minast.AST: {size}, {self.compute_dtype} on backend {self.backend.name}>"

    # -- forward -----------------------------------------------------------------------------------------------

    def forward(self, x: Array) -> Array:
        """Logits; nothing is kept for a backward pass.   x (B, T, F) normalised -> (B, K), an array of this backend

        Raises minast.Error for another shape. A large batch is computed in parts: clips are independent.
        """
        return self._in_parts(self._logits, x)

    def embed(self, x: Array) -> Array:
        """The mean of the prefix tokens after the final norm, the head's input.   x (B, T, F) normalised -> (B, D)

        Raises minast.Error for another shape.
        """
        return self._in_parts(self._pooled, x)

    def encode(self, x: Array) -> Array:
        """All tokens after the final norm, prefix tokens first.   x (B, T, F) normalised -> (B, P + N, D)

        Patch f * grid_time + t is at index P + f * grid_time + t. Raises minast.Error for another shape.
        """
        return self._in_parts(self._tokens, x)

    def _logits(self, x):
        return (self._head_forward(self._encoder_forward(x))[0],)

    def _pooled(self, x):
        return (self.layers.pool_forward(self._encoder_forward(x), self.config.prefix_tokens)[0],)

    def _tokens(self, x):
        return (self._encoder_forward(x, prefix_only=False),)

    def _encoder_forward(self, x, tape=None, prefix_only=True, keep=None, frozen=0):
        """The encoder; appends what its backward pass needs to the list `tape`, unless it is None.

        prefix_only: the last block computes only the prefix tokens, all that the head reads: (B, P, D). keep: patches
        that stay, as in `loss_and_grad`. frozen: nothing is kept of the embeddings and of so many blocks; 0: all is.
        """
        encoder, last = self.encoder, self.config.depth - 1
        shrink = encoder.block_input if self.activation_checkpointing else None

        def taped(result, shrink=None, frozen=False):
            x, cache = result
            if tape is not None and not frozen:
                tape.append(shrink(cache) if shrink else cache)
            return x

        x = taped(encoder.embed_forward(x, keep), None, frozen > 0)  # log-mel (B, T, F) -> tokens (B, P + N, D)
        for i in range(self.config.depth):
            x = taped(encoder.block_forward(i, x, prefix_only and i == last), shrink, i < frozen)  # attention and MLP
        return taped(encoder.norm_forward(x))  # (B, P, D), or all tokens

    def _head_forward(self, x):
        """x (B, P + N, D), or only the prefix (B, P, D) -> logits (B, K)"""
        c, w, layers = self.config, self.w, self.layers
        x, pool = layers.pool_forward(x, c.prefix_tokens)  # (B, D)
        x, norm = layers.layernorm_forward(x, w["mlp_head.0.weight"], w["mlp_head.0.bias"], c.head_eps)
        x, linear = layers.linear_forward(x, w["mlp_head.1.weight"], w["mlp_head.1.bias"])  # (B, K)
        return x, (pool, norm, linear)

    # -- backward ----------------------------------------------------------------------------------------------

    def loss_and_grad(
        self,
        x: Array,
        y: Array,
        loss: str = "bce",
        parts: int = 1,
        scale: float = 1.0,
        wait: bool = True,
        keep: np.ndarray | None = None,
        class_weights: Array | None = None,
        add: bool = True,
    ) -> tuple[float | Array, Array]:
        """Forward and backward pass.   -> (loss, logits (B, K)); gradients are added to `dw`

        x (B, T, F) normalised. loss "bce": y (B, K) in [0, 1], mean over batch and classes. "ce": y (B,) class indices,
        or soft (B, K). parts: gradient accumulation over at least this many parts; the gradient is that of the whole
        batch. scale: multiplies all gradients, not the loss: loss scaling for float16. wait=False: the loss is an array
        on the device instead of a float, and the host does not wait for the GPU.
        keep: patchout: the patches (B, n) of each clip that the encoder sees, rising numbers 0 to N - 1; None: all.
        Positions, and all other weights, get the gradients of what was seen.
        class_weights (K,): of each class in the loss (see layers.bce_forward and ce_forward); None: 1.
        add=False: gradients replace what `dw` holds, as after `zero_grad`; kernels then write them without reading it.
        Raises minast.Error for an unknown loss, for another `keep`, for inputs or targets of another shape, and for
        class indices that the model does not have; if those are on the device and wait=False, the loss is NaN instead.
        """
        x = self._checked(x)
        y = accepted.targets(self, y, (len(x), self.config.classes), loss, wait)
        arrays, whole = {"x": x, "y": y}, {}
        if class_weights is not None:
            whole["class_weights"] = accepted.class_weights(self, class_weights)
            arrays["y"] = accepted.soft(self, y)
        if keep is not None:
            arrays["keep"] = accepted.kept(self, keep, len(x))
        tokens = self.config.tokens if keep is None else self.config.prefix_tokens + arrays["keep"].shape[1]
        total, logits, slices = 0.0, [], self._parts(len(x), parts, tokens)
        if not add:  # the first part overwrites all that is trained, or adds to zeros
            self.dw.flat[: self.trained.start if self.overwrites else None] = 0
            add = not self.overwrites
        for part in slices:
            self.told = self._listener if part is slices[-1] else None
            share = (part.stop - part.start) / len(x)  # the loss is a mean over all clips
            inputs = *(array[part] for array in arrays.values()), *whole.values()
            settings = (*arrays, *whole), loss, share * float(scale), self.frozen, add or part.start > 0
            value, out = self._run(self._step, inputs, settings)
            total += share * value
            logits.append(out)
        self.told = None
        self.encoder.weights_will_change()
        logits = logits[0] if len(logits) == 1 else self.xp.concatenate(logits)
        return float(total) if wait else total, logits

    @contextmanager
    def telling(self, listener: Callable[[int], object] | None) -> Iterator[None]:
        """Within it `loss_and_grad` calls listener(i) while it goes on: `dw.flat[i:]` is complete, or will be.

        On a GPU it will be when the work that is queued by then is done; no CUDA graph is replayed. The numbers i fall,
        from the final norm's first gradient to that of the lowest block; that the last one, the embeddings', is done is
        not told.
        """
        self._listener = listener
        try:
            yield
        finally:
            self._listener = None

    def _step(self, *inputs_and_settings):
        """A pass for `scale` times the loss.   *arrays, their names, loss, scale, frozen, adds -> loss, logits"""
        *arrays, names, loss, scale, frozen, adds = inputs_and_settings
        arrays, tape = dict(zip(names, arrays, strict=True)), []
        tokens = self._encoder_forward(arrays["x"], tape, keep=arrays.get("keep"), frozen=frozen)
        logits, head = self._head_forward(tokens)
        value, dlogits = self._loss(logits, arrays["y"], loss, weights=arrays.get("class_weights"))
        dlogits *= scale
        with overwriting(not adds):
            self._encoder_backward(self._head_backward(dlogits, head), tape, frozen=frozen)
        return value, logits

    def input_grad(self, x: Array, dlogits: Array) -> Array:
        """Gradient of sum(logits * dlogits) with respect to the input.   x (B, T, F), dlogits (B, K) -> (B, T, F)

        Adds to `dw` as well, whatever is frozen. The whole batch is one pass. Raises minast.Error for an x of another
        shape.
        """
        self.encoder.refresh()
        tape = []
        _, head = self._head_forward(self._encoder_forward(self._checked(x), tape))
        dx = self._head_backward(self.xp.asarray(dlogits, self.dtype), head)
        return self._encoder_backward(dx, tape, to_input=True)

    def _head_backward(self, dlogits, cache):
        """dlogits (B, K) -> (B, P, D)"""
        (pool, norm, linear), dw, layers = cache, self.dw, self.layers
        dx = layers.linear_backward(dlogits, linear, dw["mlp_head.1.weight"], dw["mlp_head.1.bias"])
        dx = layers.layernorm_backward(dx, norm, dw["mlp_head.0.weight"], dw["mlp_head.0.bias"])
        return layers.pool_backward(dx, pool)

    def _encoder_backward(self, dx, tape, to_input=False, frozen=0):
        """Empties `tape` from its end.   dx (B, P, D) -> gradient of the log-mel (B, T, F) if `to_input`, else None

        frozen: as in `_encoder_forward`: the pass ends above that block.
        """
        encoder, depth = self.encoder, self.config.depth
        dx = encoder.norm_backward(dx, tape.pop(), lowest=frozen == depth)
        self._tell("norm.weight")
        for i in reversed(range(frozen, depth)):
            cache = tape.pop()
            if self.activation_checkpointing:
                _, cache = encoder.block_forward(i, cache, prefix_only=i == depth - 1)
            dx = encoder.block_backward(i, dx, cache, prefix_only=i == depth - 1, lowest=i == frozen)
            self._tell(f"blocks.{i}.norm1.weight")
        return None if frozen else encoder.embed_backward(dx, tape.pop(), to_input)

    def loss(self, logits: Array, y: Array, loss: str = "bce") -> float:
        """The loss without gradients.   logits (B, K), y and errors as in `loss_and_grad`"""
        return float(self._loss(logits, accepted.targets(self, y, logits.shape, loss), loss, backward=False)[0])

    def _loss(self, logits, y, loss, backward=True, weights=None):
        layers = self.layers
        arguments = (logits, y) if weights is None else (logits, y, weights)
        value, cache = (layers.bce_forward if loss == "bce" else layers.ce_forward)(*arguments)
        grad = (layers.bce_backward if loss == "bce" else layers.ce_backward)(cache) if backward else None
        return value, grad

    def _tell(self, name):
        """The gradients of this weight, and of all behind it, are complete."""
        if self.told is not None:
            self.told(self._place(name))

    # -- weights -----------------------------------------------------------------------------------------------

    @property
    def parameters(self) -> int:
        """The number of weights, without alignment gaps."""
        return sum(view.size for view in self.w.values())

    @property
    def trained(self) -> slice:
        """Where the weights that are not `frozen` lie in the flat arrays: those of the upper blocks and the head."""
        first = f"blocks.{self.frozen}.norm1.weight" if self.frozen < self.config.depth else "norm.weight"
        return slice(self._place(first) if self.frozen else 0, None)

    def _place(self, name):
        """Where a weight begins in the flat arrays."""
        below = takewhile(lambda other: other != name, self.w)
        return flat_size({other: self.w[other].shape for other in below}, self.dtype)

    def layout(self, flat: Array) -> Views:
        """Views of another array like `w.flat` (moments, a mask) under the weights' names."""
        return Views(shapes(self.config), flat)

    def zero_grad(self) -> None:
        """Set all gradients to zero, in place."""
        self.dw.flat[...] = 0

    def weights_changed(self) -> None:
        """Call this after writing to `w`: the next pass of a 16-bit model then renews its copy of the weights."""
        self.encoder.weights_changed()

    def copy_to_update(self) -> Array | None:
        """The 16-bit copy of the weights, like `w.flat`, for `Adam.clipped_step`; None if there is none.

        The caller must write the new weights to it: it counts as up to date from now on.
        """
        return self.encoder.copy_to_update()

    def numpy(self, array: Array) -> np.ndarray:
        """Any array of this model as a NumPy array: itself on a CPU, a copy from a GPU."""
        return to_numpy(array)

    # -- running -----------------------------------------------------------------------------------------------

    def _in_parts(self, method, x):
        """A forward pass over x, split along the batch by the backend's limit."""
        x = self._checked(x)
        parts = [self._run(method, (x[part],))[0] for part in self._parts(len(x))]
        return parts[0] if len(parts) == 1 else self.xp.concatenate(parts)

    def _run(self, method, inputs, settings=()):
        """method(*inputs, *settings) through the executor: in planned memory, and as a CUDA graph where possible."""
        self.encoder.refresh()
        with self.backend.around():
            return self.executor.run(method, inputs, settings)

    def with_layers(self, layers: Any) -> "AST":
        """A model with the same weights and other layer functions, with its own gradients and memory.

        layers: anything that has the functions of layers.py as attributes. explain.py adds hooks to attention this way.
        """
        other = copy.copy(self)
        other.layers, other.dw = layers, zeros(shapes(self.config), self.dtype, self.xp)
        other.encoder = self.encoder.with_layers(layers, other.dw)
        other.overwrites, other.executor = False, Executor(self.xp, planned=False)  # hooks keep arrays, and may add
        return other

    def dry_twin(self) -> "AST":
        """The same model on the emulator backend with unset weights: its memory is planned by a dry run."""
        return AST(self.config, "emulator", None, self.compute_dtype, self.activation_checkpointing)

    def _parts(self, clips, least=1, tokens=None):
        """range(clips) in at least `least` nearly equal slices, each within the backend's `batch_elements`

        tokens: of a clip; None: all.
        """
        limit, clip = self.backend.batch_elements, (tokens or self.config.tokens) * self.config.dim
        n = max(1, min(clips, max(least, -(-clips * clip // limit) if limit else 1)))
        return [slice(clips * i // n, clips * (i + 1) // n) for i in range(n)]

    def _checked(self, x):
        """The input on this backend, or an Error that says what it must be."""
        return accepted.clips(self, x)
