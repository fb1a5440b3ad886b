"""How a training run begins: from flags and the data's recipe, or from the folder of one that stopped."""

import os
from dataclasses import asdict, dataclass, replace

import numpy as np

from .. import cli, optim, threads
from ..backend import choose
from ..checkpoint import Info, load
from ..config import PRESETS, FeatureConfig, ModelConfig, TrainConfig
from ..datasets import NAMED, Dataset, open_dataset
from ..errors import Error
from ..model import AST, checked_dtype
from . import run_folder
from .feature_cache import FeatureCache
from .linear_probe import fit_linear_probe
from .loss_scale import LossScale, loss_scale
from .recipes import recipe


@dataclass
class Job:
    """All that the training loop needs."""

    out: str  # the folder for what comes of it
    settings: dict  # what the run began with, as last.npz keeps it
    config: TrainConfig
    model: AST
    info: Info
    optimizer: optim.Adam
    scale: LossScale
    data: Dataset
    store: FeatureCache | None = None  # features of the training clips, if they are there already
    step: int = 0  # steps done
    sums: tuple = (0.0, 0)  # of this epoch: losses, hits
    backend: str | None = None
    cache: bool = True
    saved: int | None = None  # the step that this session has last saved, if it has

    @property
    def measure(self):
        """What the best epoch is chosen by."""
        return "accuracy" if self.config.loss == "ce" else "mAP"


def begun(args, leaving):
    """A new run.   leaving: as in run.new_folder"""
    threads.set_count(threads.count())  # BLAS too, whatever OPENBLAS_NUM_THREADS says: then --resume rounds like this
    given = vars(args)
    data = open_dataset(args.data or "builtin", args.seed or 0, args.fold)
    config, rest = recipe(data.kind, data.multilabel, given)
    checked_dtype(config.dtype, choose(args.backend)[0])
    name = data.kind if data.kind != "own" else stem(args.data)
    size = stem(args.pretrained) if args.pretrained else rest["preset"]
    out = run_folder.new_folder(args.out, f"{name}-{size}", leaving)
    return prepared(args, data, config, rest, out, size)


def prepared(args, data, config, rest, out, size):
    """Features, model, optimizer, and the new head of a pretrained model, fitted.   -> Job"""
    given = vars(args)
    features = FeatureConfig(rate=rest["rate"], **{k: given[k] for k in ("mel_bins", "window") if given[k] is not None})
    source = heard(args.pretrained) if args.pretrained else {}
    features = replace(features, **{k: v for k, v in source.items() if given[k] is None})
    store = FeatureCache(data.of("train"), features, not args.no_cache)
    features = replace(features, frames=fitting_frames(store.lengths()) if rest["frames"] is None else rest["frames"])
    features = replace(features, **scaling(args, store, source))
    shape = {k: given[k] for k in ("fstride", "tstride") if given[k] is not None}
    shape |= {"classes": len(data.labels), "frames": features.frames, "mel_bins": features.mel_bins}
    if args.pretrained:
        model, origin = fine_tuned(args, shape, config)
    else:
        shape |= {k: given[k] for k in ("prefix_tokens", "depth") if given[k] is not None}
        origin = "random weights"
        model = AST(ModelConfig.preset(rest["preset"], **shape), args.backend, config.seed, config.dtype)
    model.recompute, model.replay = config.recompute, True
    info = Info(
        list(data.labels),
        features,
        config.loss,
        notes={"data": data.name, "from": origin, "seed": config.seed, "fold": args.fold},
    )
    settings = {
        "data": args.data or "builtin",
        "folder": os.getcwd(),
        "fold": args.fold,
        "fingerprint": run_folder.fingerprint(data),
        "preset": size,
        "train": asdict(config),
        "cache": not args.no_cache,
        "backend": model.backend,  # another one, or another number of threads, rounds differently
        "threads": threads.count(),
    }
    optimizer, scale = new_optimizer(model, config), loss_scale(config.dtype)
    describe(data, model, features, size, out)
    if args.pretrained and not args.random_head:
        print("fitting the new head to the features as they are", flush=True)
        loss = fit_linear_probe(model, store, data.targets(store.clips), features, config.loss)
        print(f"the new head is fitted: training loss {loss:.3f}")
    return Job(
        out, settings, config, model, info, optimizer, scale, data, store,
        backend=args.backend, cache=not args.no_cache,
    )  # fmt: skip


def resumed(args):
    """A run that stopped, where it stopped. Its settings are its own; only where its data lie may be said anew."""
    own = ("resume", "data", "backend", "threads")
    others = [
        name for name, value in vars(args).items() if value is not None and value is not False and name not in own
    ]
    if others:
        raise Error(f"--resume goes on with the run's own settings: leave out {', '.join(others)}.")
    state = run_folder.load_state_of(args.resume)
    try:
        settings, step, sums = state["settings"], int(state["counters"]["step"]), tuple(state["counters"]["sums"])
        config = TrainConfig(**{k: tuple(v) if isinstance(v, list) else v for k, v in settings["train"].items()})
        same_machinery(args, settings)
        data = open_dataset(args.data or located(settings), config.seed, settings["fold"])
        if run_folder.fingerprint(data) != settings["fingerprint"]:
            raise Error(f"{data.name}: these are not the clips that {args.resume} was trained on: start anew.")
        model, info = load(os.path.join(args.resume, run_folder.LAST), args.backend, config.dtype)
        model.recompute, model.replay = config.recompute, True
        optimizer = new_optimizer(model, config)
        optimizer.load_state(state)
        scale = loss_scale(config.dtype)
        scale.load_state(state["counters"].get("scale", scale.state()))
        cache = settings["cache"]
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, Error):
            raise
        raise Error(
            f"--resume {args.resume}: the state in {run_folder.LAST} is damaged ({error!r}): start anew."
        ) from None
    if args.data:  # they have moved: the next --resume finds them there by itself
        settings |= {"data": args.data, "folder": os.getcwd()}
    print(f"{args.resume}: going on after step {step} (epochs finished: {len(info.history)} of {config.epochs})")
    return Job(
        args.resume,
        settings,
        config,
        model,
        info,
        optimizer,
        scale,
        data,
        None,
        step,
        sums,
        backend=args.backend,
        cache=cache,
    )


def same_machinery(args, settings):
    """Backend and threads as they were, since others round differently; said aloud if the flags ask for others."""
    if args.threads is None:
        threads.set_count(settings["threads"])
    if args.backend is None:
        args.backend = settings["backend"]
    now = (args.backend, threads.count())
    if now != (settings["backend"], settings["threads"]):
        print(
            f"note: the run began on backend {settings['backend']} with {settings['threads']} threads and goes on with "
            f"{now[0]} and {now[1]}: from here on the last digits differ."
        )


def located(settings):
    """The DATA argument as seen from today's folder: paths were relative to where the run began."""
    data = settings["data"]
    if data == "builtin":
        return data
    kind, colon, path = data.partition(":")
    if colon and kind in NAMED:
        return kind + colon + os.path.join(settings["folder"], path)
    return os.path.join(settings["folder"], data)


def fitting_frames(lengths):
    """Long enough for 95 % of the clips, 32 to 1024 frames."""
    return int(np.clip(np.percentile(lengths, 95), 32, 1024))


def heard(path):
    """What pretrained weights were trained on: rate, window, mel_bins, mean, std; {} for an image model."""
    from ..pretrained import audio_features

    found = audio_features(path)
    return {k: getattr(found, k) for k in ("rate", "window", "mel_bins", "mean", "std")} if found else {}


def fine_tuned(args, shape, config):
    """-> (model with pretrained weights and a new head, where they come from); prints what became of every array."""
    from .. import pretrained

    if args.preset or args.depth or args.prefix_tokens:
        raise Error("--pretrained brings its own size: leave out --preset, --depth and --prefix-tokens.")
    model, _, report = pretrained.load(
        args.pretrained, fresh_head=True, seed=config.seed, backend=args.backend, dtype=config.dtype, **shape
    )
    report.notes = report.notes[:1]  # labels and features are the data's, as the lines after it say
    print(report)
    return model, os.path.basename(os.path.abspath(args.pretrained))


def stem(path):
    """The last part of a path, without its ending."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]


def scaling(args, store, source):
    """{"mean", "std"}: as asked for, else as the pretrained weights expect, else measured on the training clips."""
    mean, std = (source["mean"], source["std"]) if source else (args.mean, args.std)
    if mean is None or std is None:
        mean, std = store.mean_std()
    return {"mean": mean if args.mean is None else args.mean, "std": std if args.std is None else args.std}


def new_optimizer(model, config):
    """AST's Adam, which decays every weight, or AdamW, which decays the matrices."""
    decay = None
    if config.optimizer == "adamw":
        decay = model.xp.zeros_like(model.w.flat)
        for name, view in model.layout(decay).items():
            if view.ndim == 2 and name != "pos_embed":
                view[...] = 1
    options = {"weight_decay": config.weight_decay, "decoupled": config.optimizer == "adamw", "decay": decay}
    if config.layer_decay < 1:
        options["rates"] = layer_rates(model, config.layer_decay)
    Adam = getattr(model.ops, "Adam", optim.Adam)  # a backend with kernels has its own, in one launch
    return Adam(model.w.flat, config.betas, **options)


def layer_rates(model, factor):
    """How fast each weight learns, flat: 1 for the head, times `factor` for each block further down, embeddings last.

    What the lower blocks of a pretrained model know is general and worth keeping; the upper ones have to change.
    Source: Clark et al., "ELECTRA", ICLR 2020 (layerwise learning-rate decay); Bao et al., "BEiT", 2021, for a ViT.
    """
    rates, depth = model.xp.zeros_like(model.w.flat), model.config.depth
    for name, view in model.layout(rates).items():
        if name.startswith("blocks."):
            below = depth - int(name.split(".")[1])
        else:
            below = 0 if name.startswith(("norm.", "mlp_head.")) else depth + 1
        view[...] = factor**below
    return rates


def describe(data, model, features, preset, out):
    counts = {split: len(data.of(split)) for split in ("train", "valid", "test") if data.of(split)}
    clips = ", ".join(f"{n} {split}" for split, n in counts.items())
    print(f"{data.name}: {clips} clips, {len(data.labels)} classes; split {data.split_from}")
    print(
        f"{preset}: {model.parameters / 1e6:.2f} M weights, {model.config.tokens} tokens from {features.frames} frames "
        f"at {features.rate} Hz, mean {features.mean:.3f}, std {features.std:.3f}; backend {model.backend}"
        f"{'' if model.computes == 'float32' else f' in {model.computes}'}; to {out}"
    )
    if model.backend == "emulator":
        print("The emulator runs the GPU's kernels on the CPU: right, and slow. To train on a CPU take --backend fast.")


def parser(doc):
    """The flags of train. None means: as the data's recipe says."""
    p = cli.Parser("train", doc)
    p.add_argument("data", nargs="?", metavar="DATA", help=f"{cli.DATA} (default builtin)")
    p.add_argument("--out", metavar="DIR", help="output folder (default: runs/<data>-<preset>)")
    p.add_argument("--resume", metavar="DIR", help="go on with the run in DIR (and DATA, if they moved)")
    cli.add_backend(p)
    p.add_argument(
        "--seed",
        type=int,
        help="of all that is random (default 0); the last digits also depend on --threads",
    )
    p.add_argument("--fold", type=int, help="test fold of esc10 and esc50 (default 1)")
    p.add_argument("--no-cache", action="store_true", help="do not keep features on disk for next time")
    p.add_argument(
        "--pretrained", metavar="FILE", help="start from a ViT or AST, as convert reads them, with a new head"
    )
    p.add_argument("--random-head", action="store_true", help="with --pretrained: do not fit the new head first")
    g = p.add_argument_group("model")
    g.add_argument("--preset", choices=PRESETS, help="nano 1.4 M, tiny 5.5 M, small 22 M, base 87 M weights")
    g.add_argument("--fstride", type=int, help="patch stride in mel bins (default 10)")
    g.add_argument("--tstride", type=int, help="patch stride in frames (default 10)")
    g.add_argument("--prefix-tokens", type=int, choices=(1, 2), help="1: [CLS]; 2: distillation token too (default 1)")
    g.add_argument("--depth", type=int, help="encoder blocks (default 12)")
    g = p.add_argument_group("features")
    g.add_argument("--rate", type=int, help="sample rate in Hz that audio is brought to")
    g.add_argument("--frames", type=int, help="input length, 100 a second (default: fits 95 %% of the clips)")
    g.add_argument("--mel-bins", type=int, help="default 128")
    g.add_argument("--window", choices=("hamming", "hann"), help="default hamming")
    g.add_argument("--mean", type=float, help="of the log-mels (default: measured on the training clips)")
    g.add_argument("--std", type=float, help="likewise")
    g = p.add_argument_group("training (defaults depend on the data: see minast/training/recipes.py)")
    g.add_argument("--epochs", type=int)
    g.add_argument("--batch", type=int, help="clips a step (default 16)")
    g.add_argument("--dtype", help="float32, or bfloat16 or float16 on the backends cuda and emulator")
    g.add_argument("--accumulate", type=int, metavar="N", help="put a batch through in N parts, to save memory")
    g.add_argument(
        "--recompute", action="store_true", default=None, help="make activations again in the backward pass, to save it"
    )
    g.add_argument("--lr", type=float, help="highest learning rate")
    g.add_argument("--optimizer", choices=("adamw", "adam"), help="adam: with coupled weight decay, as AST")
    g.add_argument("--betas", type=float, nargs=2, metavar=("B1", "B2"), help="Adam's (default 0.9 0.999; adam: 0.95)")
    g.add_argument("--weight-decay", type=float, help="default 0.05; with --optimizer adam 5e-7, as AST")
    g.add_argument(
        "--layer-decay", type=float, help="learning rate of a block as a share of the next one's (default 1)"
    )
    g.add_argument("--clip", type=float, help="largest length of the gradient, 0 for any (default 1)")
    g.add_argument("--schedule", choices=("cosine", "milestones"), help="milestones: AST's")
    g.add_argument("--milestones", type=float, nargs=3, metavar=("START", "EVERY", "FACTOR"), help="default 10 5 0.5")
    g.add_argument("--warmup", type=int, help="steps (at most a fifth of the run)")
    g.add_argument("--loss", choices=("ce", "bce"), help="default: ce; bce where clips have several labels")
    g.add_argument("--mixup", type=float, help="share of clips mixed with another")
    g.add_argument("--freq-mask", type=int, help="widest mask in mel bins")
    g.add_argument("--time-mask", type=int, help="widest mask in frames")
    g.add_argument("--noise", action="store_true", default=None, help="AST's uniform noise")
    g.add_argument("--roll", type=int, help="largest shift in time, in frames")
    g.add_argument("--gain", type=float, help="largest change of level, in nats of power (2.3 is 10 dB)")
    g.add_argument("--augment-from", type=int, metavar="EPOCH", help="first epoch, from 0, that is augmented")
    return p
