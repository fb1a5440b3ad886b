"""Layouts: which arrays of a file each weight of minast is made of, and how.

  base.py    `Layout` and `Part`: what a layout says; `fetch` and `fill`: following it
  jax.py     the official ViT .npz and big_vision's
  torch.py   timm's names (DeiT, the official AST) and Hugging Face's (ViT, DeiT, AST)
  own.py     minast's checkpoints

`recognise(file)` finds the layout by the names in the file.
"""

from ...errors import Error
from ...text import visible
from ..readers import Tensors
from .base import Layout, Part, fetch, fill
from .jax import jax_layout
from .own import own_layout
from .torch import hf_layout, timm_layout

# What training frameworks put in front of all names: DataParallel, a wrapper's attribute, Lightning, torch.compile.
PREFIXES = ("module.", "model.", "net.", "_orig_mod.")


def recognise(file: Tensors, heads: int | None = None) -> Layout:
    """The Layout whose names the file has; heads: of the attention, where the file does not say.

    One of PREFIXES, or several, in front of all names is left out in the file, which takes a note of it.
    Raises minast.Error for an unknown file and for invalid sizes.
    """
    found = known_names(file, heads)
    while found is None and (prefix := next((p for p in PREFIXES if file.shapes and _all_begin(file, p)), None)):
        file.leave_out(prefix)
        found = known_names(file, heads)
    if found is not None:
        if file.prefix:
            file.notes.append(f"the prefix {file.prefix!r} of all names was left out")
        return found
    some = ", ".join(visible(file.prefix + name, 80) for name in list(file.shapes)[:3]) or "nothing"
    raise Error(
        f"{file.path}: these are not the weights of a known kind of ViT, DeiT or AST (the file holds {some}, ...)."
    )


def known_names(file: Tensors, heads: int | None) -> Layout | None:
    """The first layout whose names are there, if there is one."""
    layouts = (layout(file, heads) for layout in (own_layout, jax_layout, timm_layout, hf_layout))
    return next((layout for layout in layouts if layout is not None), None)


def _all_begin(file, prefix):
    return all(name.startswith(prefix) for name in file.shapes)


__all__ = ["Layout", "Part", "fetch", "fill", "hf_layout", "jax_layout", "own_layout", "recognise", "timm_layout"]
