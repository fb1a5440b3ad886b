"""Layouts: which arrays of a file each weight of minast is made of, and how.

  base.py    `Layout` and `Part`: what a layout says; `fetch` and `fill`: following it
  jax.py     the official ViT .npz and big_vision's
  torch.py   timm's names (DeiT, the official AST) and Hugging Face's (ViT, DeiT, AST)
  own.py     minast's checkpoints

`recognise(file)` finds the layout by the names in the file.
"""

from ...errors import Error
from ..readers import Tensors
from .base import Layout, Part, fetch, fill
from .jax import jax_layout
from .own import own_layout
from .torch import hf_layout, timm_layout


def recognise(file: Tensors, heads: int | None = None) -> Layout:
    """The Layout whose names the file has; heads: of the attention, where the file does not say.

    Raises minast.Error for an unknown file and for invalid sizes.
    """
    for layout in (own_layout, jax_layout, timm_layout, hf_layout):
        found = layout(file, heads)
        if found is not None:
            return found
    some = ", ".join(list(file.shapes)[:3]) or "nothing"
    raise Error(
        f"{file.path}: these are not the weights of a known kind of ViT, DeiT or AST (the file holds {some}, ...)."
    )


__all__ = ["Layout", "Part", "fetch", "fill", "hf_layout", "jax_layout", "own_layout", "recognise", "timm_layout"]
