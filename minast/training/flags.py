"""The flags of train, and the same as keyword arguments of `train.fit`."""

import argparse
import difflib
import os
from collections.abc import Sequence

from .. import cli
from ..config import PRESETS, RENAMED, WINDOWS
from ..console.arguments import FOLDS, MANY, SEEDS, EachWithin, number, whole
from ..errors import Error
from .choice import default
from .recipes import NAMED


def parser(doc: str | None = None) -> cli.Parser:
    """The command line of train. A flag that is not given is None (or False), and then the data's recipe decides."""
    p = cli.Parser("train", doc)
    cli.add_data(p, f"{cli.DATA} (default: builtin)", nargs="?")
    p.add_argument("--out", metavar="DIR", help="output folder (default: runs/<data>-<preset>)")
    p.add_argument(
        "--resume",
        metavar="DIR",
        help="resume the run or runs in DIR; a larger --epochs trains longer; give DATA as well if the data have moved",
    )
    p.add_argument(
        "--recipe", choices=NAMED, help="the settings of a published experiment (default: what fits the data)"
    )
    cli.add_backend(p)
    add(p, "seed", whole(0, SEEDS), "N", "seed of all random numbers; rounding also depends on --threads")
    p.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the first)")
    p.add_argument(
        "--folds",
        type=all_or_number,
        metavar="K",
        help="cross-validation, each fold the test set once: K folds drawn from data without any, or 'all' of theirs; "
        "with --fold that one alone (default: one run)",
    )
    p.add_argument(
        "--seeds", type=whole(1, 1000), metavar="N", help="train with N seeds, --seed and the next ones (default: 1)"
    )
    p.add_argument(
        "--validation",
        type=number(0, 1, above=True, below=True),
        metavar="SHARE",
        help="draw this share of the training clips as a validation split, for data without one (default: only where "
        "the test split is drawn as well)",
    )
    cli.add_skip_bad(p)
    p.add_argument("--no-cache", action="store_true", help="do not cache features on disk")
    p.add_argument(
        "--pretrained", metavar="FILE", help="fine-tune pretrained ViT or AST weights, in any format that convert reads"
    )
    p.add_argument(
        "--random-head",
        action=argparse.BooleanOptionalAction,
        help="with --pretrained: start from a random head, without a linear probe",
    )
    p.add_argument(
        "--tensorboard",
        action="store_true",
        default=None,
        help="also write losses and measures for TensorBoard, into the output folder (needs tensorboardX)",
    )
    add_model_flags(p.add_argument_group("model (--pretrained weights come with their own preset and prefix tokens)"))
    add_feature_flags(
        p.add_argument_group("features (the defaults with --pretrained AST weights are those they were trained with)")
    )
    add_training_flags(p.add_argument_group("training"))
    add_augmentation_flags(p.add_argument_group("augmentation"))
    for old, new in RENAMED.items():
        p.add_argument(flag(old), dest=new, action=Renamed, help=argparse.SUPPRESS)
    return p


def add(group, name: str, kind: type, metavar, text: str, **options):
    """A flag for the setting `name`, its default added to the help."""
    group.add_argument(flag(name), type=kind, metavar=metavar, help=f"{text} (default: {default(name)})", **options)


def add_model_flags(g):
    """The shape of the model: fields of ModelConfig."""
    sizes = "nano 1.4 M, tiny 5.5 M, small 22 M, base 87 M weights"
    g.add_argument("--preset", choices=PRESETS, help=f"model size: {sizes} (default: {default('preset')})")
    g.add_argument(
        "--fstride", type=whole(1, MANY), metavar="N", help="patch stride in frequency, in mel bins (default: 10)"
    )
    g.add_argument(
        "--tstride", type=whole(1, MANY), metavar="N", help="patch stride in time, in frames of 10 ms (default: 10)"
    )
    g.add_argument(
        "--prefix-tokens",
        type=whole(1, 2),
        choices=(1, 2),
        help="1: [CLS]; 2: [CLS] and the distillation token (default: 1)",
    )
    g.add_argument(
        "--depth",
        type=whole(1, 1000),
        metavar="N",
        help="number of encoder blocks (default: 12); with --pretrained its lowest N blocks (default: all)",
    )


def add_feature_flags(g):
    """How sound becomes features: fields of FeatureConfig."""
    add(g, "rate", whole(100, 768000), "HZ", "sample rate in Hz; audio at other rates is resampled")
    add(g, "frames", whole(16, MANY), "N", "input length in frames of 10 ms")
    g.add_argument("--mel-bins", type=whole(16, 4096), metavar="N", help="mel bins per frame (default: 128)")
    g.add_argument("--window", choices=WINDOWS, help="window of the STFT (default: hamming)")
    g.add_argument(
        "--mean",
        type=number(-1e6, 1e6),
        metavar="X",
        help="mean of the log-mels (default: measured on the training clips)",
    )
    g.add_argument(
        "--std",
        type=number(0, 1e6, above=True),
        metavar="X",
        help="standard deviation of the log-mels (default: measured)",
    )


def add_training_flags(g):
    """How the weights are trained: fields of TrainConfig."""
    add(g, "epochs", whole(1, MANY), "N", "passes over the training clips")
    add(g, "batch", whole(1, MANY), "N", "clips per optimizer step")
    add(
        g,
        "dtype",
        str,
        "TYPE",
        "compute dtype: float32; tf32, bfloat16 or float16 on the backends cuda and emulator",
    )
    add(g, "grad_accum", whole(1, MANY), "N", "gradient accumulation: process each batch in N parts to save memory")
    g.add_argument(
        "--activation-checkpointing",
        action=argparse.BooleanOptionalAction,
        help="recompute activations in the backward pass to save memory",
    )
    add_parallel_flags(g)
    add(g, "lr", number(0, 1e38, above=True), "X", "peak learning rate")
    add(g, "optimizer", str, None, "AdamW, or AST's Adam with coupled weight decay", choices=("adamw", "adam"))
    add(g, "betas", number(0, 1, below=True), ("B1", "B2"), "decay rates of Adam's moments", nargs=2)
    add(g, "weight_decay", number(0, 1e6), "X", "weight decay")
    add(
        g,
        "layer_decay",
        number(0, 1, above=True),
        "X",
        "learning rate of a block as a fraction of that of the block above it",
    )
    add(g, "head_lr", number(0, 1e6, above=True), "X", "learning rate of the head, as a multiple of all others'")
    add(
        g,
        "freeze",
        whole(0, 1024),
        "N",
        "freeze the embeddings and the N lowest blocks, which saves their backward pass; 0: train all weights",
    )
    add(g, "max_grad_norm", number(0, 1e9), "X", "maximum gradient norm; 0 disables clipping")
    add(g, "schedule", str, None, "learning-rate schedule; milestones is AST's", choices=("cosine", "milestones"))
    add(
        g,
        "milestones",
        str,
        ("START", "EVERY", "FACTOR"),
        "with --schedule milestones: after epoch START, multiply the learning rate by FACTOR every EVERY epochs",
        action=EachWithin,
        kinds=(number(0, MANY), number(1, MANY), number(0, 1, above=True)),
    )
    add(g, "warmup", whole(0, 10**9), "N", "warm-up in steps, at most a fifth of the run")
    add(
        g,
        "warmup_steps_of",
        whole(1, 10**9),
        "N",
        "AST's warm-up, a staircase with stairs of N steps (AST: 50), which takes exactly --warmup steps",
    )
    add(
        g,
        "average_from",
        whole(0, MANY),
        "EPOCH",
        "average the weights after this epoch, from 1, and all later ones; 0: off",
    )
    add(
        g, "patience", whole(0, MANY), "N", "stop after N epochs without a better one on the validation clips; 0: never"
    )
    add(
        g,
        "sampler",
        str,
        None,
        "clips of an epoch: shuffle takes each once; balanced, AST's, draws clips of rare classes more often",
        choices=("shuffle", "balanced"),
    )
    g.add_argument(
        "--class-weights",
        action=argparse.BooleanOptionalAction,
        help="weigh classes in the loss by how rare they are (default: no)",
    )
    add(
        g,
        "label_smoothing",
        number(0, 1, below=True),
        "SHARE",
        "share of each target that goes to all classes alike; with --loss bce, to yes and no alike",
    )
    g.add_argument(
        "--loss",
        choices=("ce", "bce"),
        help="softmax or sigmoid cross-entropy (default: bce if clips have several labels, else ce)",
    )


def add_parallel_flags(g):
    """How several processes work together, which mpiexec or --workers has started."""
    g.add_argument(
        "--workers",
        type=whole(1, 256),
        metavar="N",
        help="processes on this machine, with a model each, that share every batch and --threads (default: 1)",
    )
    add(
        g,
        "wire",
        str,
        None,
        "with several processes: how gradients travel; bfloat16 takes half the time and rounds",
        choices=("float32", "bfloat16"),
    )
    add(
        g,
        "reduction",
        str,
        None,
        "how gradients are added; fixed: --grad-accum parts in pairs, the same bits with 1, 2, 4 ... processes of as "
        "many --threads",
        choices=("fast", "fixed"),
    )
    g.add_argument(
        "--shard-optimizer",
        action=argparse.BooleanOptionalAction,
        help="with several processes: each keeps its share of the optimizer's moments, which saves memory (ZeRO-1)",
    )


def add_augmentation_flags(g):
    """How training clips are varied: the other fields of TrainConfig."""
    add(
        g,
        "patchout",
        number(0, 1, below=True),
        "SHARE",
        "leave this share of each clip's patches out in training, drawn anew in each step, which is faster",
    )
    add(g, "mixup", number(0, 1), "P", "probability that a clip is mixed with another, 0 to 1")
    add(
        g,
        "mixup_of",
        str,
        None,
        "what mixup mixes: waveforms, as AST does, or the powers of spectrograms, which is cheaper",
        choices=("waveform", "power"),
    )
    add(
        g,
        "background",
        number(0, 1),
        "P",
        "probability that a recording of --background-dir is mixed in, 0 to 20 dB below the clip; 0.5 with that alone",
    )
    g.add_argument(
        "--background-dir",
        metavar="DIR",
        help="folder with background recordings, which have no labels (default: none)",
    )
    add(g, "freq_mask", whole(0, MANY), "N", "maximum width of the SpecAugment mask in frequency, in mel bins")
    add(g, "time_mask", whole(0, MANY), "N", "maximum width of the SpecAugment mask in time, in frames of 10 ms")
    g.add_argument(
        "--noise", action=argparse.BooleanOptionalAction, help="add uniform noise to the normalised features"
    )
    add(g, "roll", whole(0, MANY), "N", "maximum circular shift in time, in frames of 10 ms")
    add(
        g,
        "gain",
        number(0, 100),
        "X",
        "maximum change of level, as the natural logarithm of the power ratio; 2.3 is 10 dB",
    )
    add(g, "augment_from", whole(0, MANY), "EPOCH", "first epoch that is augmented, counted from 0")


class Renamed(argparse.Action):
    """A flag of earlier versions: refused, with its new name."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options):
        super().__init__(option_strings, dest, nargs="?", default=argparse.SUPPRESS, help=options.get("help"))

    def __call__(self, parser, namespace, values, option_string=None):
        raise Error(f"{option_string} is now {flag(self.dest)}.")


def all_or_number(text: str) -> int | str:
    """A `type` for argparse: the word "all", or a number of folds."""
    return text if text == "all" else whole(2, FOLDS)(text)


def flag(name: str) -> str:
    """max_grad_norm -> --max-grad-norm"""
    return "--" + name.replace("_", "-")


def from_keywords(data: str | os.PathLike | None = None, **options) -> argparse.Namespace:
    """Keyword arguments parsed as the flags of the same names: epochs=3, noise=True is --epochs 3 --noise.

    None leaves a flag out, and so does False, except where there is a flag that says no, such as --no-noise. A flag
    with several values takes a list or tuple. Raises minast.Error for an unknown name, with the nearest one, and for a
    value that the flag does not accept.
    """
    p = parser()
    known = [name for name in vars(p.parse_args([])) if name != "data"]
    words = [] if data is None else [str(data)]
    for name, value in options.items():
        if name not in known:
            raise Error(unknown(name, known))
        if value is None:
            continue
        if value is False:
            no = flag(f"no_{name}")
            words += [no] if no in p._option_string_actions else []
            continue
        if isinstance(value, (list, tuple)):
            words += [flag(name), *map(str, value)]
        else:
            words.append(flag(name) if value is True else f"{flag(name)}={value}")

    try:
        return p.parse_args(words)
    except Error as error:
        raise Error(f"these options cannot be used: {error}") from None


def unknown(name: str, known: Sequence[str]) -> str:
    """The sentence for an option that does not exist."""
    if name in RENAMED:
        return f"the option {name!r} is now {RENAMED[name]!r}."
    close = difflib.get_close_matches(name, known, 1, 0.6)
    hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(known)}."
    return f"there is no option {name!r}: {hint}"
