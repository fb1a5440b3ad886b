"""What learns: the model, the optimizer that changes its weights, and the loss scale between the two."""

from dataclasses import dataclass

from .. import optim
from ..config import TrainConfig
from ..model import AST
from .loss_scale import LossScale, loss_scale


@dataclass
class Learner:
    """A model that is being trained, and all that a step changes."""

    config: TrainConfig
    model: AST
    optimizer: optim.Adam
    scale: LossScale

    def step(self, x, y, lr: float):
        """Gradient, clipping, update; the update is skipped if the gradient is not finite.

        x (B, T, F), y (B, K), arrays of the model's backend -> loss, gradient norm before clipping, logits (B, K).
        The loss is read last: on a GPU everything is queued by then, and the host has waited for nothing.
        """
        config, model, scale = self.config, self.model, self.scale.value
        model.zero_grad()
        loss, logits = model.loss_and_grad(x, y, config.loss, config.grad_accum, scale, wait=False)
        norm = self.optimizer.clipped_step(
            model.dw.flat, lr, config.max_grad_norm, copy=model.copy_to_update(), scale=1 / scale
        )
        self.scale.update(norm)
        return float(loss), norm, logits


def new_learner(model: AST, config: TrainConfig) -> Learner:
    """A learner before its first step."""
    model.activation_checkpointing, model.cuda_graphs = config.activation_checkpointing, True
    return Learner(config, model, new_optimizer(model, config), loss_scale(config.dtype))


def new_optimizer(model: AST, config: TrainConfig) -> optim.Adam:
    """AST's Adam, which decays every weight, or AdamW, which decays the matrices alone."""
    decay = None
    if config.optimizer == "adamw":
        decay = model.xp.zeros_like(model.w.flat)
        for name, view in model.layout(decay).items():
            if view.ndim == 2 and name != "pos_embed":
                view[...] = 1
    options = {"weight_decay": config.weight_decay, "decoupled": config.optimizer == "adamw", "decay": decay}
    if config.layer_decay < 1:
        options["rates"] = layer_rates(model, config.layer_decay)
    return model.backend.Adam(model.w.flat, config.betas, **options)


def layer_rates(model: AST, factor: float):
    """A factor of the learning rate for every weight: 1 for the head, times `factor` for each block further down.

    The embeddings come last. What the lower blocks of a pretrained model know is general and worth keeping; the upper
    ones have to change. -> like model.w.flat
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
