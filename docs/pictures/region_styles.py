"""Draws the pictures of `docs/formats/region.md`: one scene in each style, as `formats.media.drawn` opens it."""

from pathlib import Path

from PIL import Image, ImageDraw

from llamafactory_hind.formats.media.drawn import apply_drawing


HERE = Path(__file__).resolve().parent
SIZE = (320, 200)
BOXES = [[26, 86, 106, 166], [120, 76, 190, 146], [226, 26, 296, 166]]  # two balls that look alike, and a tree
CROWN = [[226, 96], [261, 26], [296, 96]]
TRUNK = [[252, 96], [270, 96], [270, 166], [252, 166]]
NUMBERS = [0, 1, 2]
DRAWINGS = {
    "boxes": {"marks": "boxes", "boxes": BOXES, "numbers": NUMBERS},
    "numbers": {"marks": "numbers", "boxes": BOXES, "numbers": NUMBERS},
    "polygons": {"marks": "polygons", "boxes": BOXES, "numbers": NUMBERS, "polygons": [[], [], [CROWN, TRUNK]]},
    "crop": {"crop": BOXES[1]},
}


def scene() -> Image.Image:
    """Return the picture as stored."""
    image = Image.new("RGB", SIZE, (214, 228, 240))
    pen = ImageDraw.Draw(image)
    pen.rectangle((0, 140, *SIZE), fill=(150, 178, 120))
    for box in BOXES[:2]:
        pen.ellipse((box[0], box[1], box[2] - 1, box[3] - 1), fill=(200, 60, 50))
    pen.polygon([tuple(point) for point in TRUNK], fill=(110, 80, 50))
    pen.polygon([tuple(point) for point in CROWN], fill=(50, 110, 60))
    return image


def main() -> None:
    """Write `region_scene.png` and one picture a drawing beside this file."""
    scene().save(HERE / "region_scene.png", optimize=True)
    for name, drawing in DRAWINGS.items():
        apply_drawing(scene(), drawing).save(HERE / f"region_{name}.png", optimize=True)


if __name__ == "__main__":
    main()
