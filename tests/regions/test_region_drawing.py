"""Drawn regions: equal to plain Pillow where LSKD is meant, legible where numbers are, and never in the given picture."""

import itertools
import random

import pytest
from PIL import Image, ImageDraw

from llamafactory_hind import regions
from llamafactory_hind.regions import color, crop, draw_boxes, draw_marks, draw_polygons, focal_box, marks


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    return Image.frombytes("RGB", (width, height), random.Random(seed).randbytes(3 * width * height))


def luminance(pixel: tuple[int, ...]) -> float:
    """WCAG 2.1's relative luminance, 0..1."""
    shares = [value / 255 for value in pixel[:3]]
    red, green, blue = (share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: tuple[int, ...], other: tuple[int, ...]) -> float:
    """WCAG 2.1's contrast ratio, 1..21; text wants 4.5."""
    darker, lighter = sorted((luminance(one), luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def test_palette() -> None:
    """The named colours as published; by formula: i = 300 has hue 300/1024, lightness 0.4 + 0.6·300/1025, saturation 300/1023.

    c = (1 - |2l - 1|)·s: l = 0.575610, s = 0.293255, c = 0.248909; hue · 6 = 1.757813, so x = c·(1 - |1.757813 mod 2 - 1|)
    = 0.060279; m = l - c/2 = 0.451156. Between 1 and 2 (red = x, green = c, blue = 0) + m, times 255, cut: 130, 178, 115.
    """
    assert color(0) == ((255, 5, 205, 32), (5, 255, 55, 255))
    assert color(1) == ((255, 128, 0, 32), (153, 204, 255, 255))
    assert color(2) == ((134, 45, 45, 32), (204, 153, 255, 255))
    assert color(3) == ((255, 128, 0, 32), (245, 173, 66, 255))
    assert color(4) == ((134, 45, 45, 32), (245, 93, 66, 255))
    assert color(300) == ((130, 178, 115, 32), (130, 178, 115, 255))
    assert color(5)[1] == color(6)[1] == color(7)[1] == (103, 102, 102, 255)  # as published
    assert color(1023)[1][0] == color(1023)[1][1] == color(1023)[1][2]  # no saturation
    assert color(1025)[1][0] in (102, 103)  # the least lightness
    for index in range(2000):
        assert all(0 <= value <= 255 for part in color(index) for value in part)
    with pytest.raises(ValueError, match="got -1, expected the number of a region"):
        color(-1)


def official_box(picture: Image.Image, box, fill, outline) -> Image.Image:
    """Draw as vc_utils.highlight_bbox says: convert, overlay, rectangle of width 2, composite, convert."""
    picture = picture.convert("RGBA")
    overlay = Image.new("RGBA", picture.size, "#00000000")
    ImageDraw.Draw(overlay, "RGBA").rectangle(
        [(box[0], box[1]), (box[2], box[3])], fill=fill, outline=outline, width=2
    )
    return Image.alpha_composite(picture, overlay).convert("RGB")


def test_boxes_are_lskds_pixel_for_pixel_one_over_the_other() -> None:
    picture = noise(80, 60)
    boxes = [(10, 10, 50, 50), (30.4, 20.7, 70.2, 40.9), (5, 5, 6, 6), (0, 0, 12, 59)]
    expected = picture
    for index, box in enumerate(boxes):
        expected = official_box(expected, box, *color(index))
    assert draw_boxes(picture, boxes).tobytes() == expected.tobytes()
    expected = official_box(official_box(picture, boxes[1], *color(7)), boxes[0], *color(7))
    assert draw_boxes(picture, [boxes[1], boxes[0]], indices=[7, 7]).tobytes() == expected.tobytes()


def test_a_pixel_by_hand() -> None:
    """Fill of region 0 over black: 255·32/255 = 32, 5·32/255 = 0.6, 205·32/255 = 25.7; over that region 1, blended again."""
    black = Image.new("RGB", (40, 40))
    drawn = draw_boxes(black, [(0, 0, 30, 30), (10, 10, 40, 40)])
    assert drawn.getpixel((5, 5)) == (32, 1, 26)
    red = (255 * 32 + 32 * 223) / 255  # 1's fill (255, 128, 0), alpha 32, over (32, 1, 26)
    green, blue = (128 * 32 + 1 * 223) / 255, 26 * 223 / 255
    assert drawn.getpixel((20, 20)) == pytest.approx((red, green, blue), abs=1)
    assert drawn.getpixel((0, 20)) == (5, 255, 55)
    for place in ((39, 20), (38, 20), (20, 39), (20, 38)):  # on the border both lines are visible
        assert drawn.getpixel(place) == (153, 204, 255)


def test_one_pixel_and_the_whole_picture_are_drawn() -> None:
    for size in ((1, 1), (1, 50), (50, 1), (3, 3)):
        drawn = draw_boxes(
            Image.new("RGB", size), [(0, 0, *size), (size[0] - 1, size[1] - 1, *size), (size[0] - 0.5, 0, size[0], 1)]
        )
        assert drawn.getpixel((size[0] - 1, size[1] - 1)) != (0, 0, 0)


def test_polygons() -> None:
    """Two parts of one region, far apart: no line joins them, and a second region has its own colour."""
    picture = Image.new("RGB", (60, 40))
    region = [[(2, 2), (12, 2), (12, 12), (2, 12)], [(40, 20), (50, 20), (50, 30), (40, 30)]]
    drawn = draw_polygons(picture, [region, [[[20, 2], [30, 2], [25, 12]]]])
    assert drawn.getpixel((7, 7)) == drawn.getpixel((45, 25)) == (32, 1, 26)
    assert drawn.getpixel((2, 7)) == (5, 255, 55)
    assert drawn.getpixel((25, 16)) == (0, 0, 0)
    assert drawn.getpixel((25, 6)) == (32, 16, 0)
    assert draw_polygons(picture, [[]]).tobytes() == picture.tobytes()


def in_every_mode() -> list[Image.Image]:
    picture = noise(70, 50)
    clear = picture.copy()
    clear.putalpha(noise(70, 50, 3).convert("L"))
    palette = picture.quantize(16)
    see_through = palette.copy()
    see_through.info["transparency"] = 3
    others = [picture.convert(mode) for mode in ("L", "1", "CMYK", "YCbCr", "HSV")]
    return [picture, clear, palette, see_through, clear.convert("LA"), clear.convert("RGBa"), *others]


@pytest.mark.parametrize("picture", in_every_mode(), ids=lambda picture: picture.mode)
def test_the_given_picture_stays_and_the_new_one_is_rgb(picture: Image.Image) -> None:
    before = (picture.mode, picture.tobytes(), dict(picture.info))
    box = (10, 10, 40, 40)
    results = [
        draw_boxes(picture, [box]),
        draw_polygons(picture, [[[(10, 10), (40, 10), (40, 40)]]]),
        draw_marks(picture, [box]),
        draw_boxes(picture, []),
        draw_marks(picture, []),
    ]
    for drawn in results:
        assert drawn.mode == "RGB"
        assert drawn.size == picture.size
        assert drawn is not picture
    cut = crop(picture, box)
    assert cut.mode == picture.mode
    assert cut is not picture
    for drawn in [*results, cut]:
        drawn.paste(0, (0, 0, *drawn.size))
    assert (picture.mode, picture.tobytes(), dict(picture.info)) == before


def test_transparency_lies_over_white() -> None:
    clear = Image.new("RGBA", (8, 8), (200, 0, 0, 0))
    assert draw_boxes(clear, []).getpixel((0, 0)) == (255, 255, 255)


@pytest.mark.parametrize(
    ("draw", "said"),
    [
        (lambda picture: draw_boxes(picture, [(0, 0, 5, 5), (0, 0, 5, 700)]), "box 1: got (0, 0, 5, 700), expected 0 <= x1"),
        (lambda picture: draw_marks(picture, [(0, 0, 5)]), "box 0: got (0, 0, 5), expected four"),
        (lambda picture: draw_boxes(picture, [(0, 0, 5, 5)], indices=[0, 1]), "got numbers [0, 1] for 1 boxes, expected one each"),
        (lambda picture: draw_marks(picture, [(0, 0, 5, 5)], numbers=[-1]), "got numbers [-1]"),
        (lambda picture: draw_polygons(picture, [[[(0, 0), (5, 5)]]]), "region 0: got polygon [(0, 0), (5, 5)], expected three"),
        (lambda picture: crop(picture, (0, 0, 90, 5)), "box: got (0, 0, 90, 5)"),
        (lambda picture: draw_boxes(Image.new("I;16", (9, 9)), []), "picture: got mode I;16, expected 8 bits a channel"),
        (lambda picture: draw_marks(Image.new("F", (9, 9)), []), "got mode F"),
    ],
)  # fmt: skip
def test_what_cannot_be_drawn_is_told(draw, said: str) -> None:
    with pytest.raises(ValueError) as error:
        draw(Image.new("RGB", (50, 50)))
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ((100, 80, 200, 140), (0, 20, 300, 200)),  # one width and height on each side
        (
            (300, 200, 310, 204),
            (233, 130, 377, 274),
        ),  # 10 x 4 -> 48 x 48 about (305, 202), from (281, 178), 48 more each way
        ((0, 0, 1, 1), (0, 0, 73, 73)),  # about (0.5, 0.5): from int(-23.5) = -23, to -23 + 96
        ((639, 479, 640, 480), (567, 407, 640, 480)),  # from int(615.5) = 615, int(455.5) = 455, less 48
        ((0, 0, 640, 480), (0, 0, 640, 480)),
        ((100.6, 80.2, 199.3, 139.9), (0, 20, 300, 200)),  # whole pixels that hold the box
    ],
)
def test_the_focal_crop_by_hand(box: tuple, expected: tuple) -> None:
    picture = noise(640, 480)
    assert focal_box(box, picture.size) == expected
    assert crop(picture, box).tobytes() == picture.crop(expected).tobytes()


def test_every_crop_holds_its_box() -> None:
    rng = random.Random(2)
    for _ in range(500):
        width, height = rng.randint(1, 900), rng.randint(1, 900)
        left, top = rng.randint(0, width - 1), rng.randint(0, height - 1)
        box = (left, top, rng.randint(left + 1, width), rng.randint(top + 1, height))
        found = focal_box(box, (width, height))
        assert 0 <= found[0] <= box[0] < box[2] <= found[2] <= width
        assert 0 <= found[1] <= box[1] < box[3] <= found[3] <= height


BACKGROUNDS = [*itertools.product((0, 64, 117, 119, 128, 192, 255), repeat=3)]


def test_one_of_the_two_lines_stands_out_from_any_colour() -> None:
    """The worst background has luminance √(1.05 · 0.05) - 0.05 = 0.179, contrast √21 = 4.58 with black and with white."""
    assert min(max(contrast((v, v, v), marks.BLACK), contrast((v, v, v), marks.WHITE)) for v in range(256)) >= 4.5
    for background in BACKGROUNDS:
        picture = Image.new("RGB", (120, 90), background)
        drawn = draw_marks(picture, [(40, 30, 80, 60)])
        across = {drawn.getpixel((x, 50)) for x in range(34, 42)}
        assert max(contrast(background, ink) for ink in across) >= 4.5
        assert {marks.BLACK, marks.WHITE} <= across


def number_pixels(picture: Image.Image, box: tuple, number: int, monkeypatch) -> tuple[tuple, Image.Image]:
    """Return the plate of a single mark and the drawn picture."""
    plates = []
    original = marks._plate

    def spy(draw, plate, *rest) -> None:
        plates.append(plate)
        original(draw, plate, *rest)

    monkeypatch.setattr(marks, "_plate", spy)
    return plates, draw_marks(picture, [box], numbers=[number])


@pytest.mark.parametrize("size", [(160, 120), (448, 448), (1600, 900), (300, 40)])
def test_numbers_are_white_on_black_on_any_background(size: tuple, monkeypatch) -> None:
    """The plate is the same on white, black, gray and noise, so no background shows through; ink and ground are 21:1."""
    seen = set()
    for picture in (noise(*size), *(Image.new("RGB", size, (v, v, v)) for v in (0, 119, 255))):
        plates, drawn = number_pixels(picture, (20, 5, size[0] - 20, size[1] - 5), 8, monkeypatch)
        plate = drawn.crop(plates[0])
        assert plate.height >= 12
        seen.add(plate.tobytes())
        colors = {color for _, color in plate.getcolors(100_000)}
        assert {marks.BLACK, marks.WHITE} <= colors
    assert len(seen) == 1
    assert contrast(marks.BLACK, marks.WHITE) == pytest.approx(21)


def test_numbers_differ(monkeypatch) -> None:
    pictures = {
        number_pixels(Image.new("RGB", (300, 200)), (50, 50, 200, 150), n, monkeypatch)[1].tobytes() for n in range(30)
    }
    assert len(pictures) == 30


def test_plates_stay_in_the_picture_and_off_each_other_where_there_is_room(monkeypatch) -> None:
    plates: list[tuple] = []
    monkeypatch.setattr(marks, "_plate", lambda draw, plate, *rest: plates.append(plate))
    same = [(100, 100, 300, 250)] * 4 + [(0, 0, 3, 3), (397, 297, 400, 300), (150, 150, 151, 151)]
    draw_marks(noise(400, 300), same)
    for one, other in itertools.combinations(plates, 2):
        assert marks._shared(one, other) == 0
    assert all(0 <= left < right <= 400 and 0 <= top < bottom <= 300 for left, top, right, bottom in plates)


def test_a_small_box_is_not_covered_by_its_own_mark() -> None:
    picture = noise(400, 300)
    for box in ((200, 150, 203, 153), (200, 150, 220, 160)):
        drawn = draw_marks(picture, [box])
        assert drawn.crop(box).tobytes() == picture.crop(box).tobytes()


def test_all_three_lines_stay_where_the_picture_ends() -> None:
    drawn = draw_marks(Image.new("RGB", (200, 200), (119, 119, 119)), [(0, 0, 200, 200)])
    for places in (
        [(x, 100) for x in (0, 1, 2)],
        [(x, 100) for x in (199, 198, 197)],
        [(100, y) for y in (199, 198, 197)],
    ):
        assert [drawn.getpixel(place) for place in places] == [marks.BLACK, marks.WHITE, marks.BLACK]
    assert drawn.getpixel((3, 100)) == (119, 119, 119)


@pytest.mark.parametrize("size", [(1, 1), (2, 40), (9, 9), (5000, 20)])
def test_marks_on_odd_pictures(size: tuple) -> None:
    assert draw_marks(Image.new("RGB", size), [(0, 0, *size), (0, 0, 1, 1)]).size == size


def test_the_room_needs_pillow_only_for_drawing(run_python) -> None:
    code = (
        "import sys, llamafactory_hind.regions as r; r.format_box((0,0,1,1), image_size=(9,9), convention='qwen3_vl');"
        "print({'PIL', 'torch', 'transformers', 'llamafactory', 'numpy'} & set(sys.modules)); r.draw_boxes; print('PIL' in sys.modules)"
    )
    run = run_python("-c", code, env={"LLAMAFACTORY_HIND_DISABLE": "1"})
    assert run.stdout.split() == ["set()", "True"], run.stdout + run.stderr


def test_every_public_name_is_there() -> None:
    assert all(hasattr(regions, name) for name in regions.__all__)
    with pytest.raises(AttributeError, match="no attribute 'draw_circles'"):
        regions.draw_circles  # noqa: B018
