"""Smaller pictures for notebooks: a palette where it changes nothing that an eye could see."""

import base64
import io

NEAR, FAR = 4, 100  # of 255: what no eye sees, and what none sees in single pixels on the edges of letters
FREQUENT = 30  # pixels: each level of a colour bar has more
EDGES = 0.01  # of all pixels may be changed by more than NEAR
GREYS = 24  # levels that the antialiased edges of letters need


def smaller(png):
    """The same picture with 256 colours, if no frequent colour moves by more than NEAR, else whole.   base64 -> base64

    Frequent are the levels of maps and of their colour bars; the greys between black and white share what they leave;
    single pixels on edges take the nearest colour. A picture with more stays as it is: a palette would turn its colour
    bar into steps.
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
    palette = _palette(rgb, counts)
    if palette is not None:
        gaps = np.abs(rgb[:, None] - palette).max(axis=2)  # (colours, 256)
        nearest, gap = gaps.argmin(axis=1), gaps.min(axis=1)
        moved = gap[~_grey(rgb) & (counts >= FREQUENT)].max(initial=0)
        if moved <= NEAR and gap.max() <= FAR and counts[gap > NEAR].sum() <= EDGES * packed.size:
            image = Image.fromarray(nearest[inverse].reshape(packed.shape).astype(np.uint8), "P")
            image.putpalette(palette.astype(np.uint8).tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "png", optimize=True)
    return min(base64.b64encode(buffer.getvalue()).decode(), png.strip(), key=len)


def _palette(rgb, counts):
    """Frequent colours, and greys in equal steps; None for a picture of too many.   (n, 3), (n,) -> (256, 3)"""
    import numpy as np

    if len(rgb) > 20_000:  # a photograph, or colours over a spectrogram
        return None
    often = np.flatnonzero(~_grey(rgb) & (counts >= FREQUENT))
    often = rgb[often[np.argsort(-counts[often], kind="stable")]]
    for apart in range(NEAR + 1):
        kept = np.empty((0, 3), int)
        for one in often:
            if len(kept) == 0 or np.abs(kept - one).max(axis=1).min() > apart:
                kept = np.vstack([kept, one])
            if len(kept) > 256 - GREYS:
                break
        else:
            steps = np.round(np.linspace(0, 255, 256 - len(kept))).astype(int)
            return np.concatenate([kept, np.stack([steps] * 3, axis=1)])
    return None


def _grey(rgb):
    return (rgb[:, 0] == rgb[:, 1]) & (rgb[:, 1] == rgb[:, 2])
