"""Settings as frozen dataclasses: how sound becomes features, the shape of the model, how it is trained.

An invalid value raises minast.Error when the dataclass is created. 96.0 frames are 96: whole numbers are ints.
"""

from dataclasses import dataclass, fields

from .errors import Error
from .storage.schema import Flag, Number, OneOf, Record, Several, Text, Whole, as_json, check_fields, checked

PRESETS = {  # width and heads; head width is 32 in nano and 64 elsewhere; all are 12 layers deep
    "nano": {"dim": 96, "heads": 3},
    "tiny": {"dim": 192, "heads": 3},
    "small": {"dim": 384, "heads": 6},
    "base": {"dim": 768, "heads": 12},
}
RENAMED = {  # TrainConfig's fields in version 0.1.0 and today: old files hold the former, flags refuse them
    "clip": "max_grad_norm",
    "accumulate": "grad_accum",
    "recompute": "activation_checkpointing",
}
WINDOWS = ("hamming", "hann")  # of the STFT
PATCH = 16  # AST's patches are 16 mel bins x 16 frames
LONGEST = 2**20  # frames of 10 ms: 2.9 hours; also the longest sequence of tokens
CLASSES = Whole(1, 10**6)  # the largest published label sets have 20 000 to 30 000
LABEL = Text(1000)  # AudioSet's longest name has 67 characters, a file name at most 255 bytes

# What each field may be. Bounds are generous, several times what was ever published or makes sense, and finite: a
# damaged file or a slip of the finger must not ask for all memory or all day.
FEATURES = {
    "rate": Whole(100, 768000),  # Hz; 768 kHz is the highest that audio interfaces offer
    "mel_bins": Whole(4, 4096),  # 128 in AST; the STFT of 25 ms at 16 kHz has 257 bins
    "window": OneOf(WINDOWS),
    "frames": Whole(1, LONGEST),
    "mean": Number(-1e6, 1e6),  # log-mels lie between -16 and about 30
    "std": Number(1e-6, 1e6),  # features are divided by twice its value
}
MODEL = {
    "dim": Whole(1, 2**14),  # 6144 in ViT-22B, the largest published ViT
    "depth": Whole(1, 1024),  # 48 there; 1000 in DeepNet
    "heads": Whole(1, 4096),  # 48 there
    "mel_bins": Whole(PATCH, 4096),
    "frames": Whole(PATCH, LONGEST),
    "fstride": Whole(1, LONGEST),
    "tstride": Whole(1, LONGEST),
    "classes": CLASSES,
    "prefix_tokens": Whole(1, 2),
    "encoder_eps": Number(above=0, below=1),
    "head_eps": Number(above=0, below=1),
    "gelu": OneOf(("erf", "tanh")),
}
COUNT = Whole(0, 10**9)  # of steps, epochs, clips, frames: 32 years of one step a second
TRAINING = {
    "epochs": Whole(1, 10**6),
    "batch": Whole(1, 10**6),
    "lr": Number(above=0, most=1e38),
    "optimizer": OneOf(("adam", "adamw")),
    "betas": Several((Number(least=0, below=1), Number(least=0, below=1))),
    "weight_decay": Number(0, 1e6),
    "layer_decay": Number(above=0, most=1),
    "head_lr": Number(above=0, most=1e6),
    "freeze": Whole(0, 1024),  # blocks
    "max_grad_norm": Number(0, 1e30),
    "schedule": OneOf(("cosine", "milestones")),
    "warmup": COUNT,
    "warmup_steps_of": Whole(1, 10**9),
    "milestones": Several((Number(0, 1e6), Number(1, 1e6), Number(above=0, most=1))),
    "average_from": COUNT,
    "loss": OneOf(("ce", "bce")),
    "label_smoothing": Number(least=0, below=1),
    "class_weights": Flag(),
    "sampler": OneOf(("shuffle", "balanced")),
    "patchout": Number(least=0, below=1),
    "mixup": Number(0, 1),
    "mixup_of": OneOf(("waveform", "power")),
    "background": Number(0, 1),
    "freq_mask": COUNT,
    "time_mask": COUNT,
    "noise": Flag(),
    "roll": COUNT,
    "gain": Number(0, 100),  # 100 is 434 dB
    "dtype": OneOf(("float32", "tf32", "bfloat16", "float16")),
    "grad_accum": Whole(1, 10**6),
    "activation_checkpointing": Flag(),
    "wire": OneOf(("float32", "bfloat16")),
    "reduction": OneOf(("fast", "fixed")),
    "shard_optimizer": Flag(),
    "augment_from": COUNT,
    "patience": COUNT,
    "seed": Whole(0, 2**63 - 1),
}

LATER = (  # fields of TrainConfig that version 0.1.0 did not have: a run that it began goes on with their defaults
    *("head_lr", "freeze", "warmup_steps_of", "average_from", "label_smoothing", "class_weights", "sampler"),
    *("patchout", "mixup_of", "background", "patience"),
    *("wire", "reduction", "shard_optimizer"),
)
BEFORE = {"mixup_of": "power"}  # or with these


def grid_shape(mel_bins: int, frames: int, fstride: int, tstride: int) -> tuple[int, int]:
    """Patches along (frequency, time): (floor((F - 16) / fstride) + 1, floor((T - 16) / tstride) + 1); no padding.

    128 mel bins and 1024 frames at stride 10 give (12, 101): 1212 patches. Source: AST, section 2.
    """
    return (mel_bins - PATCH) // fstride + 1, (frames - PATCH) // tstride + 1


@dataclass(frozen=True)
class FeatureConfig:
    """How a waveform becomes the model's input: (pad_or_trim(log_mel(wave), frames) - mean) / (2 std).

    >>> FeatureConfig(rate=8000, frames=98, mean=-7.1, std=3.7).window
    'hamming'

    Source: AST, section 2, and the official code's dataloader.py.
    """

    rate: int = 16000  # sample rate in Hz, 100 to 768000; audio at other rates is resampled
    mel_bins: int = 128  # F, at least 4
    window: str = "hamming"  # the paper's text; "hann" is what the official code and its checkpoints use
    frames: int = 1024  # T, one frame every 10 ms
    mean: float = -4.2677393  # of the log-mels, in nats; AudioSet's, from the official code
    std: float = 4.5689974  # likewise; above 0

    def __post_init__(self):
        check_fields(self, FEATURES)


@dataclass(frozen=True)
class ModelConfig:
    """The shape of an AST. Defaults: AST base on 10 s of AudioSet (1212 patches, 1 prefix token).

    >>> config = ModelConfig.preset("tiny", classes=10, frames=512)
    >>> config.dim, config.grid, config.tokens
    (192, (12, 50), 601)

    Source: AST, section 2; the sizes are DeiT's (Touvron et al. 2021, table 1), nano is ours.
    """

    dim: int = 768  # D, width of a token; a multiple of `heads`
    depth: int = 12  # encoder blocks
    heads: int = 12  # H, attention heads of a block
    mel_bins: int = 128  # F, at least 16
    frames: int = 1024  # T, one every 10 ms; at least 16
    fstride: int = 10  # patch stride in mel bins
    tstride: int = 10  # patch stride in frames
    classes: int = 527  # K
    prefix_tokens: int = 1  # 1: [CLS] (ViT); 2: [CLS] and the distillation token (DeiT, the official AST)
    encoder_eps: float = 1e-6
    head_eps: float = 1e-5  # the head's layer norm keeps PyTorch's default in the official code
    gelu: str = "erf"  # exact; "tanh" is the approximation that the original ViT was trained with

    def __post_init__(self):
        check_fields(self, MODEL)
        if self.dim % self.heads:
            raise Error(f"dim is {self.dim} and heads is {self.heads}: the width must be a multiple of the heads.")
        if self.tokens > LONGEST:
            raise Error(
                f"{self.frames} frames of {self.mel_bins} mel bins at strides {self.fstride} and {self.tstride} make "
                f"{self.tokens} tokens: there can be at most {LONGEST}; use larger strides or fewer frames."
            )

    @classmethod
    def preset(cls, name: str, **changes) -> "ModelConfig":
        """A named size (nano, tiny, small, base), any field changed by keyword: preset("tiny", classes=10, frames=128).

        Raises minast.Error for an unknown preset or field.
        """
        if name not in PRESETS:
            raise Error(f"there is no preset {name!r}: choose one of {', '.join(PRESETS)}.")
        unknown = set(changes) - {f.name for f in fields(cls)}
        if unknown:
            raise Error(
                f"ModelConfig has no field {sorted(unknown)[0]!r}: it has {', '.join(f.name for f in fields(cls))}."
            )
        return cls(**{**PRESETS[name], **changes})

    @property
    def grid(self) -> tuple[int, int]:
        """Patches along (frequency, time)."""
        return grid_shape(self.mel_bins, self.frames, self.fstride, self.tstride)

    @property
    def tokens(self) -> int:
        """Length of the encoder's sequence, P + N: prefix tokens and patches."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. A value out of range raises minast.Error.

    >>> TrainConfig(epochs=10, mixup=0.5, max_grad_norm=0).optimizer
    'adamw'

    Each data set starts from its own values: see `recipe` in training/recipes.py. Source of the values marked AST:
    Gong, Chung, Glass, "AST: Audio Spectrogram Transformer", Interspeech 2021, and its official code.
    """

    epochs: int = 25
    batch: int = 16  # clips per optimizer step
    lr: float = 5e-4  # peak learning rate
    optimizer: str = "adamw"  # or "adam": AST's, with weight decay added to the gradient
    betas: tuple[float, float] = (0.9, 0.999)  # decay rates of Adam's moments; AST: (0.95, 0.999)
    weight_decay: float = 0.05
    layer_decay: float = 1.0  # learning rate of a block as a fraction of that of the block above it
    head_lr: float = 1.0  # learning rate of the head (its layer norm and linear layer), as a multiple of all others'
    freeze: int = 0  # the embeddings and so many lowest blocks stay as they are; 0: all weights are trained
    max_grad_norm: float = 1.0  # gradients are clipped to this global norm; 0 disables clipping
    schedule: str = "cosine"  # or "milestones": AST's
    warmup: int = 100  # steps, at most a fifth of the run
    warmup_steps_of: int = 1  # 50, AST's: a staircase, its lr changes every 50 steps; `warmup` is then taken as it is
    milestones: tuple[float, float, float] = (10, 5, 0.5)  # AST's start epoch, epochs between decays, factor
    average_from: int = 0  # the weights after this epoch, from 1, and all later ones are averaged; 0: no average
    loss: str = "ce"  # softmax, one label per clip; "bce": sigmoid, any number of labels
    label_smoothing: float = 0.0  # share of a target that goes to all classes alike: batches.smoothed
    class_weights: bool = False  # rare classes weigh more in the loss, each as much as any other in all
    sampler: str = "shuffle"  # each clip once an epoch; "balanced": AST's, clips of rare classes are drawn more often
    patchout: float = 0.0  # share of each clip's patches that is left out in training
    mixup: float = 0.0  # probability, 0 to 1, that a clip is mixed with another
    mixup_of: str = "waveform"  # AST's; "power": log-mels are mixed, as if waveforms were uncorrelated: cheaper
    background: float = 0.0  # probability, 0 to 1, that a background recording is mixed in
    freq_mask: int = 0  # maximum width, in mel bins
    time_mask: int = 0  # maximum width, in frames of 10 ms
    noise: bool = False  # uniform noise after normalisation, as in AST's Speech Commands recipe
    roll: int = 0  # maximum circular shift in time, in frames of 10 ms
    gain: float = 0.0  # maximum change of level, as the natural logarithm of the power ratio; 2.3 is 10 dB
    dtype: str = "float32"  # compute dtype; "tf32", "bfloat16" and "float16" need the backend cuda or emulator
    grad_accum: int = 1  # parts of a batch that are processed one after another, their gradients accumulated
    activation_checkpointing: bool = False  # recompute activations in the backward pass, to save memory
    wire: str = "float32"  # how gradients travel between processes; "bfloat16": rounded, half as long
    reduction: str = "fast"  # how they are added; "fixed": parts in pairs, the same bits for any number of processes
    shard_optimizer: bool = False  # each process has a part of the optimizer's moments (ZeRO-1)
    augment_from: int = 0  # first epoch that is augmented, from 0: a transformer learns the plain clips first
    patience: int = 0  # epochs without a better one on the validation clips after which the run ends; 0: off
    seed: int = 0  # of weights, order and augmentation

    def __post_init__(self):
        check_fields(self, TRAINING)
        if self.grad_accum > self.batch:
            raise Error(f"grad_accum is {self.grad_accum}: it must be at most the batch, {self.batch} clips.")
        if self.background and self.mixup and self.mixup_of == "power":
            raise Error('background recordings are mixed with waveforms: mixup_of must be "waveform" beside them.')
        if self.average_from > self.epochs:
            raise Error(f"average_from is {self.average_from}: it must be at most the last epoch, {self.epochs}.")

    @classmethod
    def from_saved(cls, saved: dict) -> "TrainConfig":
        """The settings that last.npz keeps (JSON: lists for tuples), under their present names or those of 0.1.0.

        Raises minast.Error for a field that is unknown, or was there in 0.1.0 and is missing, or has a wrong value.
        """
        values = BEFORE | {RENAMED.get(name, name): value for name, value in saved.items()}
        return cls(**checked(Record(TRAINING, optional=LATER), values, "train", as_json))
