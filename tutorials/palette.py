"""Smaller pictures for notebooks: a palette where it changes nothing that an eye could see."""

import base64
import io

NEAR, FAR = 4, 96  # of 255: what no eye sees on a surface, and what none sees in single pixels on the edges of letters
RUN = 5  # pixels of one colour in a row make a surface: map cells and colour bars have them, edges do not
EDGES = 0.05  # of all pixels may be changed by more than NEAR: the edges of lines and letters
GREYS = 24  # levels that the antialiased edges of letters need


def smaller(png):
    """The same picture with 256 colours, if no surface's colour moves by more than NEAR, else whole.   base64 -> base64

    Surfaces are the levels of maps and of their colour bars. The greys between black and white, and the most frequent
    colours of edges, share what they leave; other edges take the nearest colour. A picture with more surfaces stays as
    it is: a palette would turn its colour bar into steps.
    """
    import numpy as np  # with Pillow, needed only where notebooks are built
    from PIL import Image

    image = Image.open(io.BytesIO(base64.b64decode(png)))
    if image.mode == "RGBA" and image.getextrema()[3] == (255, 255):  # opaque
        image = image.convert("RGB")
    if image.mode != "RGB":
        return png
    packed = np.asarray(image).astype(np.int32) @ (65536, 256, 1)
    colours, inverse, counts = np.unique(packed, return_inverse=True, return_counts=True)
    rgb = np.stack([colours >> 16, colours >> 8 & 255, colours & 255], axis=1)
    flat = np.isin(colours, _surfaces(packed))
    palette = _palette(rgb, counts, flat) if len(rgb) <= 20_000 else None  # more is a photograph
    if palette is not None:
        gaps = np.stack([np.abs(palette - one).max(axis=1) for one in rgb])  # (colours, 256)
        nearest, gap = gaps.argmin(axis=1), gaps.min(axis=1)
        if gap.max() <= FAR and counts[gap > NEAR].sum() <= EDGES * packed.size:
            image = Image.fromarray(nearest[inverse].reshape(packed.shape).astype(np.uint8), "P")
            image.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return min(base64.b64encode(buffer.getvalue()).decode(), png.strip(), key=len)


def _surfaces(packed):
    """The colours that fill RUN pixels in a row somewhere.   (rows, columns) -> (n,)"""
    import numpy as np

    same = packed[:, 1:] == packed[:, :-1]
    width = same.shape[1] - RUN + 2
    run = np.logical_and.reduce([same[:, i : i + width] for i in range(RUN - 1)])
    return np.unique(packed[:, :width][run])


def _palette(rgb, counts, flat):
    """Surfaces, greys in equal steps, frequent edges; None where they are too many.   rgb (n, 3) -> (256, 3)"""
    import numpy as np

    grey = (rgb[:, 0] == rgb[:, 1]) & (rgb[:, 1] == rgb[:, 2])
    often = np.argsort(-counts, kind="stable")
    surfaces, edges = rgb[often[(flat & ~grey)[often]]], rgb[often[(~flat & ~grey)[often]]]
    levels = 256 if (flat & grey).sum() > GREYS else GREYS  # a map in grey
    for apart in range(NEAR + 1):
        kept = np.empty((0, 3), int)
        for one in surfaces:
            if len(kept) == 0 or np.abs(kept - one).max(axis=1).min() > apart:
                kept = np.vstack([kept, one])
            if len(kept) > 256 - GREYS:
                break
        else:
            levels = min(levels, 256 - len(kept))
            steps = np.round(np.linspace(0, 255, levels)).astype(int)
            kept = np.concatenate([kept, np.stack([steps] * 3, axis=1), edges])[:256]
            return np.concatenate([kept, np.zeros((256 - len(kept), 3), int)])
    return None
