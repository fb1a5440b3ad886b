"""What learns: the model, the optimizer that changes its weights, and the loss scale between the two."""

from dataclasses import dataclass

from .. import optim
from ..config import TrainConfig
from ..datasets.targets import Targets
from ..errors import Error
from ..layers import Array
from ..model import AST
from .averaging import WeightAverage, new_average
from .loss_scale import LossScale, loss_scale
from .sampling import class_weights


@dataclass
class Learner:
    """A model that is being trained, and all that a step changes."""

    config: TrainConfig
    model: AST
    optimizer: optim.Adam
    scale: LossScale
    class_weights: Array | None = None  # (K,) in the loss, on the model's device
    average: WeightAverage | None = None  # of the weights after each epoch, if they are averaged

    def step(self, x, y, lr: float, keep=None):
        """Gradient, clipping, update; the update is skipped if the gradient is not finite.

        x (B, T, F), y (B, K), arrays of the model's backend; keep (B, n) of NumPy or None: patches that stay -> loss,
        norm before clipping of the gradient of all weights that are trained, logits (B, K).
        The loss is read last: on a GPU everything is queued by then, and the host has waited for nothing.
        """
        config, model, scale, trained = self.config, self.model, self.scale.value, self.model.trained
        model.zero_grad()
        options = {"wait": False, "keep": keep, "class_weights": self.class_weights}
        loss, logits = model.loss_and_grad(x, y, config.loss, config.grad_accum, scale, **options)
        copy = model.copy_to_update()  # frozen weights do not change: theirs is up to date
        norm = self.optimizer.clipped_step(
            model.dw.flat[trained],
            lr,
            config.max_grad_norm,
            copy=None if copy is None else copy[trained],
            scale=1 / scale,
        )
        self.scale.update(norm)
        return float(loss), norm, logits

    def end_epoch(self, epoch: int) -> None:
        """What is due after an epoch, counted from 1: its weights are counted into the average."""
        if self.average and epoch >= self.average.first:
            self.average.add()


def new_learner(model: AST, config: TrainConfig, targets: Targets | None = None) -> Learner:
    """A learner before its first step.   targets: of the training clips, which class weights need

    Raises minast.Error if more blocks are to be frozen than there are."""
    if config.freeze > model.config.depth:
        raise Error(f"freeze is {config.freeze}: the model has {model.config.depth} blocks.")
    model.frozen = config.freeze
    model.activation_checkpointing, model.cuda_graphs = config.activation_checkpointing, True
    weights = model.xp.asarray(class_weights(targets), model.dtype) if config.class_weights else None
    average = new_average(model, config.average_from)
    return Learner(config, model, new_optimizer(model, config), loss_scale(config.dtype), weights, average)


def new_optimizer(model: AST, config: TrainConfig) -> optim.Adam:
    """AST's Adam, which decays every weight, or AdamW, which decays the matrices alone; of the weights not frozen."""
    decay, trained = None, model.trained
    if config.optimizer == "adamw":
        decay = model.xp.zeros_like(model.w.flat)
        for name, view in model.layout(decay).items():
            if view.ndim == 2 and name != "pos_embed":
                view[...] = 1
        decay = decay[trained]
    options = {"weight_decay": config.weight_decay, "decoupled": config.optimizer == "adamw", "decay": decay}
    if config.layer_decay < 1 or config.head_lr != 1:
        options["rates"] = layer_rates(model, config.layer_decay, config.head_lr)[trained]
    return model.backend.Adam(model.w.flat[trained], config.betas, **options)


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
