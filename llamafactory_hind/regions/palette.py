"""LSKD's colours: the colour of a region is its name in the picture (jamespark3922/localized-skd, `vc_utils.py`)."""

import colorsys


Color = tuple[int, int, int, int]  # red, green, blue, alpha; 0..255

FILL_ALPHA = 32
NAMED = (  # fill, outline
    ("ff05cd20", "05ff37ff"),
    ("ff800020", "99ccffff"),
    ("862d2d20", "cc99ffff"),
    ("ff800020", "f5ad42ff"),
    ("862d2d20", "f55d42ff"),
)


def color(index: int) -> tuple[Color, Color]:
    """Return the fill and the outline, each (red, green, blue, alpha) in 0..255, of a region's number.

    The first five are named. Later ones follow MERLOT Reserve's formula: hue (i % 1024) / 1024,
    saturation (i % 1023) / 1023, lightness 0.4 + 0.6 (i % 1025) / 1025, cut to whole numbers. It
    was made for hashes: small numbers give grays that nobody tells apart (5, 6 and 7 are all (103,
    102, 102)), so draw more than six regions with `draw_marks`.

    Raises:
        ValueError: the number is below 0.
    """
    if index < 0:
        raise ValueError(f"color: got {index}, expected the number of a region, 0 or above.")
    if index < len(NAMED):
        fill, outline = NAMED[index]
        return _rgba(fill), _rgba(outline)
    lightness = (index % 1025) / 1025 * (1.0 - 0.4) + 0.4
    shares = colorsys.hls_to_rgb((index % 1024) / 1024, lightness, (index % 1023) / 1023)
    red, green, blue = (int(share * 255.0) for share in shares)
    return (red, green, blue, FILL_ALPHA), (red, green, blue, 255)


def _rgba(text: str) -> Color:
    red, green, blue, alpha = bytes.fromhex(text)
    return red, green, blue, alpha
