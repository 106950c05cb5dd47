"""One way to see a picture: upright, RGB of 8 bits, transparency over white."""

from typing import Any

from PIL import Image


def flatten(image: Image.Image) -> Image.Image:
    """Return a picture as RGB of 8 bits: transparency over white, deep grays scaled down and not cut off."""
    if image.mode.startswith("I") or image.mode == "F":
        return _scale_down(image).convert("RGB")
    if not _is_see_through(image):
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


def _is_see_through(image: Image.Image) -> bool:
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
