"""One way to see a picture: upright, RGB of 8 bits, transparency over white, the first of several.

Training, engines, teachers and servers all open pictures here. The host alone leaves a photo lying, drops transparency (which
shows what was hidden below it) and cuts off what is brighter than 255.
"""

import io
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps


ORIENTATION = 0x0112  # EXIF tag
DEEP_MODES = ("I", "F")  # and their variants, such as I;16B


def see_picture(medium: Any) -> Image.Image:
    """Open a picture the one way.

    Args:
        medium: a path, encoded bytes, `{"bytes", "path"}`, a file object, or a decoded picture, which stays as it is.

    Raises:
        ValueError: it is none of these.
        Exception: what decoders raise: OSError, SyntaxError, struct.error, Image.DecompressionBombError.
    """
    return flatten(upright(open_picture(medium)))


def open_picture(medium: Any) -> Image.Image:
    """Open and decode a picture as it is stored; of an animation or of several pages, the first. Errors as in `see_picture`."""
    if isinstance(medium, dict):
        medium = medium.get("bytes") or medium.get("path")
    if isinstance(medium, bytes):
        medium = io.BytesIO(medium)
    if isinstance(medium, str | Path) or hasattr(medium, "read"):
        medium = Image.open(medium)
    if not isinstance(medium, Image.Image):
        raise ValueError(f"it is no path, no bytes and no picture, but {type(medium).__name__}")
    medium.load()  # a file that is cut off is found here
    return medium


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8; 1 where there is none, or where it cannot be read."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # broken EXIF raises what it likes, and the picture is fine
        return 1
    return found if isinstance(found, int) and 1 <= found <= 8 else 1


def upright(image: Image.Image) -> Image.Image:
    """Return a photo as its camera says that it is to be looked at."""
    return image if orientation(image) == 1 else ImageOps.exif_transpose(image)


def differences(image: Image.Image) -> list[str]:
    """Return in what a decoded picture differs from what the host alone would make of it, for a message with counts."""
    found = []
    if orientation(image) != 1:
        found.append("an EXIF rotation")
    if image.mode.startswith(DEEP_MODES):
        found.append("grays of more than 8 bits")
    elif is_see_through(image) and min(_alpha(image)) < 255:
        found.append("transparency")
    return found


def _alpha(image: Image.Image) -> bytes:
    return image.convert("LA" if image.mode == "La" else "RGBA").getchannel("A").tobytes()


def flatten(image: Image.Image) -> Image.Image:
    """Return a picture as RGB of 8 bits: transparency over white, deep grays scaled down and not cut off."""
    if image.mode.startswith(DEEP_MODES):
        return _scale_down(image).convert("RGB")
    if not is_see_through(image):
        return image if image.mode == "RGB" else image.convert("RGB")
    if image.mode == "La":
        image = image.convert("LA")  # Pillow knows no other way out of it
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image).convert("RGB")


def thin_out(frames: list[Any] | tuple[Any, ...], most: int) -> list[Any]:
    """Return at most so many of the frames, evenly, the first and the last among them."""
    if not frames:
        raise ValueError("it has no frames")
    if len(frames) <= most:
        return list(frames)
    return [frames[number * (len(frames) - 1) // max(most - 1, 1)] for number in range(most)]


def is_see_through(image: Image.Image) -> bool:
    """Say whether a picture can have transparent pixels."""
    return image.mode in ("RGBA", "RGBa", "LA", "La", "PA") or "transparency" in image.info


def _scale_down(image: Image.Image) -> Image.Image:
    """Return a deep gray picture with 8 bits: 16-bit modes by their range, open ones by what is in them."""
    deep = image.convert("I") if image.mode.startswith("I;16") else image
    low, high = map(float, deep.getextrema())  # type: ignore[arg-type]
    if image.mode.startswith("I;16") or (image.mode == "I" and low >= 0 and 255 < high <= 65535):
        low, high = 0, 65535
    elif low >= 0 and high <= 255 and image.mode != "F":
        low, high = 0, 255
    scale = 255 / (high - low) if high > low else 0.0
    return deep.convert("F").point(lambda value: value * scale + (0.5 - low * scale)).convert("L")
