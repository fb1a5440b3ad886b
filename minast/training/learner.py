"""What learns: the model, the optimizer that changes its weights, and the loss scale between the two."""

from dataclasses import dataclass

from .. import optim
from ..config import TrainConfig
from ..datasets.targets import Targets
from ..errors import Error
from ..layers import Array
from ..model import AST
from ..parallel.gradients import Gradients
from ..parallel.group import SINGLE, Group
from ..parallel.optimizer import SharedAdam
from .averaging import WeightAverage, new_average
from .loss_scale import LossScale, loss_scale
from .sampling import class_weights


@dataclass
class Learner:
    """A model that is being trained, and all that a step changes."""

    config: TrainConfig
    model: AST
    optimizer: optim.Adam | SharedAdam
    scale: LossScale
    class_weights: Array | None = None  # (K,) in the loss, on the model's device
    average: WeightAverage | None = None  # of the weights after each epoch, if they are averaged
    gradients: Gradients | None = None  # of the batch of all processes; None: this one has the whole batch

    def step(self, x, y, lr: float, keep=None):
        """Gradient, clipping, update; the update is skipped if the gradient is not finite.

        x (B, T, F), y (B, K), arrays of the model's backend; keep (B, n) of NumPy or None: patches that stay -> loss,
        norm before clipping of the gradient of all weights that are trained, logits (B, K). With several processes
        these are of this one's clips, loss and norm are those of the whole batch.
        The loss is read last: on a GPU everything is queued by then, and the host has waited for nothing.
        """
        config, model, scale, trained = self.config, self.model, self.scale.value, self.model.trained
        options = {"wait": False, "keep": keep, "class_weights": self.class_weights}
        if self.gradients is None:
            loss, logits = model.loss_and_grad(x, y, config.loss, config.grad_accum, scale, add=False, **options)
        else:
            loss, logits = self.gradients(model, x, y, config.loss, scale, **options)
        copy = model.copy_to_update()  # frozen weights do not change: theirs is up to date
        norm = self.optimizer.clipped_step(
            model.dw.flat[trained],
            lr,
            config.max_grad_norm,
            copy=None if copy is None else copy[trained],
            scale=1 / scale,
        )
        self.scale.update(norm)
        return float(loss) if self.gradients is None else self.gradients.total(loss), norm, logits

    def end_epoch(self, epoch: int) -> None:
        """What is due after an epoch, counted from 1: its weights are counted into the average."""
        if self.average and epoch >= self.average.first:
            self.average.add()


def new_learner(
    model: AST, config: TrainConfig, targets: Targets | None = None, group: Group = SINGLE, clips: int | None = None
) -> Learner:
    """A learner before its first step.   targets: of the training clips, which class weights need

    group: the processes that train together; clips: in a batch of all of them (default: config.batch).
    Raises minast.Error if more blocks are to be frozen than there are, or a batch cannot be divided as is asked."""
    if config.freeze > model.config.depth:
        raise Error(f"freeze is {config.freeze}: the model has {model.config.depth} blocks.")
    model.frozen = config.freeze
    model.activation_checkpointing, model.cuda_graphs = config.activation_checkpointing, True
    weights = model.xp.asarray(class_weights(targets), model.dtype) if config.class_weights else None
    average = new_average(model, config.average_from)
    gradients = new_gradients(model, config, group, clips)
    optimizer = new_optimizer(model, config, gradients)
    return Learner(config, model, optimizer, loss_scale(config.dtype), weights, average, gradients)


def new_gradients(model: AST, config: TrainConfig, group: Group, clips: int | None) -> Gradients | None:
    """How the gradients of a batch are added over processes, or over its parts in fixed order; None for neither."""
    if group.size == 1 and config.reduction == "fast":
        return None
    options = {"wire": config.wire, "fixed": config.reduction == "fixed", "shard": config.shard_optimizer}
    size, clips = model.w.flat.size, clips or config.batch
    return Gradients(group.on(model.xp), model.trained, size, clips, config.grad_accum, **options)


def new_optimizer(model: AST, config: TrainConfig, gradients: Gradients | None = None) -> optim.Adam | SharedAdam:
    """AST's Adam, which decays every weight, or AdamW, which decays the matrices alone; of the weights not frozen."""
    trained, arrays = model.trained, {}
    if config.optimizer == "adamw":
        decay = model.xp.zeros_like(model.w.flat)
        for name, view in model.layout(decay).items():
            if view.ndim == 2 and name != "pos_embed":
                view[...] = 1
        arrays["decay"] = decay[trained]
    if config.layer_decay < 1 or config.head_lr != 1:
        arrays["rates"] = layer_rates(model, config.layer_decay, config.head_lr)[trained]
    options = {"weight_decay": config.weight_decay, "decoupled": config.optimizer == "adamw"}
    w = model.w.flat[trained]

    def make(part):
        own = {name: array[part].copy() if gradients and gradients.shard else array for name, array in arrays.items()}
        return model.backend.Adam(w[part], config.betas, **options, **own)

    if gradients is None:
        return make(slice(None))
    return SharedAdam(gradients.group, w, make, gradients.buckets, gradients.fixed, gradients.shard)


def layer_rates(model: AST, factor: float, head: float = 1.0):
    """A factor of the learning rate for every weight: 1 for the final norm, times `factor` for each block further down.

    The embeddings come last. What the lower blocks of a pretrained model know is general and worth keeping; the upper
    ones have to change. head: the factor of the head, which is new. -> like model.w.flat
    Source: Clark et al., "ELECTRA", ICLR 2020 (layerwise learning-rate decay); Bao et al., "BEiT", 2021, for a ViT;
    for the head Gong et al., "SSAST", AAAI 2022, whose code has --head_lr.
    """
    rates, depth = model.xp.zeros_like(model.w.flat), model.config.depth
    for name, view in model.layout(rates).items():
        if name.startswith("blocks."):
            below = depth - int(name.split(".")[1])
        else:
            below = 0 if name.startswith(("norm.", "mlp_head.")) else depth + 1
        view[...] = head if name.startswith("mlp_head.") else factor**below
    return rates
