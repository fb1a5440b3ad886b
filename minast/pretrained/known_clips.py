"""Which clips pretrained weights of minast's own were trained on: they must not be scored as if they were new."""

import os

import numpy as np

from ..checkpoint import description, open_checkpoint
from ..datasets.content import trained_on
from ..errors import Error


def trained_before(path: str | os.PathLike | None) -> np.ndarray | None:
    """The clips that a checkpoint's weights have seen, as `content.trained_on`; None if that is unknown.

    path: of pretrained weights, in any format; only minast's own say it.
    """
    if path is None or not os.path.isfile(path):
        return None
    try:
        with open_checkpoint(path) as archive:
            return trained_on(description(archive).get("notes", {}))
    except Error:  # another format, which pretrained.load reads, or complains about
        return None
