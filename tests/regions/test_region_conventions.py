"""Numbers of each convention, by hand, by official code where it is installed, and there and back over many sizes."""

import math
import random

import pytest

from llamafactory_hind.regions import CONVENTIONS, from_model, to_model


CELLS = {  # width of a grid cell as a share of the frame's side
    "qwen_vl": 1 / 999, "qwen2_vl": 1 / 1000, "qwen3_vl": 1 / 1000, "internvl": 1 / 1000, "llava": 1 / 100,
    "shikra": 1 / 1000, "paligemma": 1 / 1023, "kosmos2": 1 / 32, "cogvlm": 1 / 1000, "deepseek_vl2": 1 / 999,
    "glm4v": 1 / 1000, "minicpm_v": 1 / 1000, "florence2": 1 / 1000, "ferret": 1 / 1000,
}  # fmt: skip
WHOLE_PIXELS = {"deepseek_vl2", "ferret"}  # official decoders cut to whole pixels


def fed_as_the_host_does(width: int, height: int) -> tuple[int, int]:
    """Return multiples of 28 near the size, as a stand-in for smart_resize."""
    return max(28, round(width / 28) * 28), max(28, round(height / 28) * 28)


BY_HAND = [
    # 640 x 480, box (33, 77, 401, 423). Shares: x 0.0515625, 0.6265625; y 0.16041667, 0.88125.
    ("qwen_vl", (640, 480), None, (33, 77, 401, 423), (51, 160, 626, 881)),  # 51.56, 160.42, 626.56, 881.25 down
    ("qwen2_vl", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),  # to the nearest
    ("qwen3_vl", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),
    ("internvl", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),
    ("glm4v", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),
    ("minicpm_v", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),
    ("cogvlm", (640, 480), None, (33, 77, 401, 423), (52, 160, 627, 881)),
    ("ferret", (640, 480), None, (33, 77, 401, 423), (51, 160, 626, 881)),  # int()
    ("florence2", (640, 480), None, (33, 77, 401, 423), (51, 160, 626, 881)),  # floor of 33 / 0.64 = 51.56 …
    ("deepseek_vl2", (640, 480), None, (33, 77, 401, 423), (52, 161, 626, 881)),  # 51.51, 160.26, 625.94, 880.37 up
    # x 1023: 52.75, 640.97; 164.11, 901.52; y first
    ("paligemma", (640, 480), None, (33, 77, 401, 423), (164, 53, 902, 641)),
    # Square of 640, the picture 80 lower: y (77 + 80) / 640 = 0.2453, (423 + 80) / 640 = 0.7859
    ("llava", (640, 480), (336, 336), (33, 77, 401, 423), (0.05, 0.25, 0.63, 0.79)),
    ("shikra", (640, 480), (336, 336), (33, 77, 401, 423), (0.052, 0.245, 0.627, 0.786)),
    # Portrait, an odd difference: (481 - 640) floored to 79 on the left, not 79.5. (100 + 79) / 640 = 0.2797
    ("shikra", (481, 640), (336, 336), (100, 0, 200, 640), (0.28, 0.0, 0.436, 1.0)),
    ("shikra", (640, 481), (336, 336), (0, 100, 640, 200), (0.0, 0.28, 1.0, 0.436)),  # and above
    # 20-pixel columns, 15-pixel rows: first cell 1, 5 -> 161; last ceil(20.05 - 1) = 20, ceil(28.2 - 1) = 28 -> 916
    ("kosmos2", (640, 480), None, (33, 77, 401, 423), (161, 916)),
    # Centre (217, 250): 33.90625 %, 52.0833 %
    ("molmo", (640, 480), None, (33, 77, 401, 423), (33.9, 52.1)),
    # Fed at 1176 x 504 for 1920 x 822 (facts 3.3): x 0.6125, y 0.61314: 61.25, 122.63, 1176 -> 1175, 504 -> 503
    ("qwen2_5_vl", (1920, 822), (1176, 504), (100, 200, 1920, 822), (61, 123, 1175, 503)),
    # Halves go to the even number, as Python rounds: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2
    ("qwen2_vl", (2000, 2000), None, (1, 3, 5, 7), (0, 2, 2, 4)),
    ("qwen2_5_vl", (56, 56), (28, 28), (1, 3, 5, 7), (0, 2, 2, 4)),
    # The whole picture: the last number of each grid
    ("qwen_vl", (640, 480), None, (0, 0, 640, 480), (0, 0, 999, 999)),
    ("qwen2_vl", (640, 480), None, (0, 0, 640, 480), (0, 0, 1000, 1000)),
    ("cogvlm", (640, 480), None, (0, 0, 640, 480), (0, 0, 999, 999)),
    ("deepseek_vl2", (640, 480), None, (0, 0, 640, 480), (0, 0, 999, 999)),
    ("florence2", (640, 480), None, (0, 0, 640, 480), (0, 0, 999, 999)),
    ("paligemma", (640, 480), None, (0, 0, 640, 480), (0, 0, 1023, 1023)),
    ("kosmos2", (640, 480), None, (0, 0, 640, 480), (0, 1023)),
    ("llava", (640, 480), None, (0, 0, 640, 480), (0.0, 0.12, 1.0, 0.88)),  # 0.125 and 0.875, binary: half to even
    ("ferret", (640, 480), None, (0, 0, 640, 480), (0, 0, 1000, 1000)),
]


@pytest.mark.parametrize(("name", "image_size", "processed_size", "box", "expected"), BY_HAND)
def test_to_model_by_hand(name, image_size, processed_size, box, expected) -> None:
    numbers = to_model(box, image_size=image_size, processed_size=processed_size, convention=name)
    assert numbers == pytest.approx(expected, abs=1e-12)
    assert all(isinstance(number, int) for number in numbers) == (name not in ("llava", "shikra", "molmo"))


@pytest.mark.parametrize(
    ("name", "image_size", "processed_size", "numbers", "expected"),
    [
        ("qwen_vl", (1998, 999), None, (0, 100, 500, 999), (0, 100, 1000, 999)),  # / 999
        ("qwen2_vl", (2000, 500), None, (250, 500, 500, 1000), (500, 250, 1000, 500)),
        ("qwen2_5_vl", (1920, 822), (1176, 504), (588, 126, 1176, 252), (960, 205.5, 1920, 411)),
        ("paligemma", (2046, 1023), None, (1, 2, 3, 4), (4, 1, 8, 3)),
        ("florence2", (2000, 1000), None, (0, 0, 9, 9), (1, 0.5, 19, 9.5)),  # bins' middles
        ("cogvlm", (2000, 1000), None, (0, 0, 999, 999), (0, 0, 1998, 999)),
        ("deepseek_vl2", (640, 480), None, (100, 100, 500, 500), (64, 48, 320, 240)),  # 64.06, 48.05, 320.3, 240.2 cut
        ("ferret", (640, 480), None, (51, 160, 626, 881), (32, 76, 400, 422)),  # 32.64, 76.8, 400.64, 422.88 cut
        ("llava", (640, 480), None, (0.1, 0.2, 0.5, 0.5), (64, 48, 320, 240)),  # y: 128 - 80, 320 - 80
        ("llava", (640, 480), None, (0.1, 0.0, 0.5, 0.5), (64, 0, 320, 240)),  # begins in the padding
        ("shikra", (481, 640), None, (0.25, 0.5, 0.5, 0.75), (81, 320, 241, 480)),  # 160 - 79, 320 - 79
        ("kosmos2", (640, 480), None, (161, 916), (30, 82.5, 410, 427.5)),  # centres of (1, 5) and (20, 28)
        ("kosmos2", (640, 480), None, (161, 161), (20, 75, 40, 90)),  # one cell: its edges
        ("kosmos2", (640, 480), None, (161, 164), (20, 75, 100, 90)),  # one row: outer edges
        ("molmo", (640, 480), None, (33.9, 52.1), (216.96, 250.08, 216.96, 250.08)),
        ("qwen3_vl", (1000, 1000), None, (500, 500, 1020, 600), (500, 500, 1000, 600)),  # a little off the grid
    ],
)
def test_from_model_by_hand(name, image_size, processed_size, numbers, expected) -> None:
    box = from_model(numbers, image_size=image_size, processed_size=processed_size, convention=name)
    assert box == pytest.approx(expected, abs=1e-9)


def test_official_examples_of_kosmos2() -> None:
    """The snowman of the model card: patches 44, 863 are (0.390625, 0.046875, 0.984375, 0.828125)."""
    box = from_model((44, 863), image_size=(1, 1), convention="kosmos2")
    assert box == (0.390625, 0.046875, 0.984375, 0.828125)
    assert from_model((5, 911), image_size=(1, 1), convention="kosmos2") == (0.171875, 0.015625, 0.484375, 0.890625)


def sizes_and_boxes(seed: int, count: int, *, whole: bool):
    """Yield picture sizes, extreme ones among them, and boxes: anywhere, on the border, of one pixel."""
    rng = random.Random(seed)
    for _ in range(count):
        width, height = rng.choice([(640, 480), (1, 1), (4000, 7), (7, 4000), (28, 28), (1999, 1013), (333, 999)])
        if rng.random() < 0.5:
            width, height = rng.randint(1, 5000), rng.randint(1, 5000)
        edges = []
        for length in (width, height):
            low, high = rng.randint(0, length - 1), rng.randint(1, length)
            low, high = (low, high) if low < high else (low, low + 1)
            kind = rng.random()
            low, high = (
                (0, high)
                if kind < 0.2
                else (low, length)
                if kind < 0.4
                else (low, low + 1)
                if kind < 0.6
                else (low, high)
            )
            if not whole:
                low, high = low + 0.4 * rng.random(), high - 0.4 * rng.random()
            edges.append((low, high))
        (left, right), (top, bottom) = edges
        yield (width, height), (left, top, right, bottom)


def test_kosmos2_twin() -> None:
    official = pytest.importorskip("transformers.models.kosmos2.processing_kosmos2")
    for size, box in sizes_and_boxes(1, 500, whole=False):
        shares = (box[0] / size[0], box[1] / size[1], box[2] / size[0], box[3] / size[1])
        numbers = to_model(box, image_size=size, convention="kosmos2")
        assert numbers == official.coordinate_to_patch_index(shares, 32)
        decoded = official.patch_index_to_coordinate(*numbers, 32)
        expected = [share * length for share, length in zip(decoded, size * 2, strict=True)]
        assert from_model(numbers, image_size=size, convention="kosmos2") == pytest.approx(expected)


def test_florence2_twin() -> None:
    """Official decoding cuts to whole pixels, ours keeps the middle of the bin."""
    torch = pytest.importorskip("torch")
    official = pytest.importorskip("transformers.models.florence2.processing_florence2").Florence2PostProcessor
    processor = official.__new__(official)
    processor.quantize_bins = (1000, 1000)
    for size, box in sizes_and_boxes(2, 300, whole=False):
        numbers = to_model(box, image_size=size, convention="florence2")
        assert list(numbers) == processor.quantize(torch.tensor([box], dtype=torch.float64), size)[0].tolist()
        decoded = processor.dequantize(torch.tensor([numbers], dtype=torch.float64), size)[0].tolist()
        assert [int(value) for value in from_model(numbers, image_size=size, convention="florence2")] == decoded


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
@pytest.mark.parametrize("whole", [True, False])
def test_there_and_back_within_a_cell(name: str, whole: bool) -> None:
    """A cell is 1 / grid of the frame's side, of the fed picture's pixel for Qwen2.5-VL; a point comes back to the centre.

    DeepSeek-VL2 and Ferret decode to whole pixels: the cell counts in whole pixels there, and cutting a fraction adds one.
    """
    for size, box in sizes_and_boxes(3, 400, whole=whole):
        fed = fed_as_the_host_does(*size)
        where = {"image_size": size, "processed_size": fed, "convention": name}
        numbers = to_model(box, **where)
        back = from_model(numbers, **where)
        assert 0 <= back[0] <= back[2] <= size[0]
        assert 0 <= back[1] <= back[3] <= size[1]
        for place, value in enumerate(box):
            length = size[place % 2]
            if name == "molmo":
                value, cell = (box[place % 2] + box[place % 2 + 2]) / 2, length / 1000
            elif name == "qwen2_5_vl":
                cell = length / fed[place % 2]
            else:
                cell = CELLS[name] * (max(size) if name in ("llava", "shikra") else length)
            if name in WHOLE_PIXELS:
                cell = math.ceil(cell) + (0 if whole else 1)
            assert abs(back[place] - value) <= cell + 1e-6, (size, box, numbers, back)


def test_deepseek_gives_whole_pixels_back_where_the_grid_is_finer() -> None:
    for size, box in sizes_and_boxes(4, 400, whole=True):
        if max(size) <= 999:
            numbers = to_model(box, image_size=size, convention="deepseek_vl2")
            assert from_model(numbers, image_size=size, convention="deepseek_vl2") == box


@pytest.mark.parametrize("name", sorted(set(CONVENTIONS) - {"molmo"}))
def test_what_was_read_is_written_the_same(name: str) -> None:
    """Numbers of a grid survive: number -> pixels -> number (Ferret cuts twice, and may come out one lower)."""
    rng = random.Random(5)
    for _ in range(200):
        size = (rng.randint(1500, 4000), rng.randint(1500, 4000))
        fed = fed_as_the_host_does(size[0] // 2, size[1] // 2)
        where = {"image_size": size, "processed_size": fed, "convention": name}
        left, top = size[0] * rng.uniform(0.2, 0.45), size[1] * rng.uniform(0.2, 0.45)
        numbers = to_model((left, top, left + size[0] * 0.3, top + size[1] * 0.3), **where)
        again = to_model(from_model(numbers, **where), **where)
        worst = 1 if name in ("ferret", "deepseek_vl2") else 1e-9
        assert max(abs(one - other) for one, other in zip(numbers, again, strict=True)) <= worst


def test_a_picture_thinner_than_the_grid_loses_no_box_to_the_padding() -> None:
    """7 of 4000 pixels are less than a step of 0.01: both sides of the box round to 0.5, into the picture or beside it."""
    for left in range(7):
        where = {"image_size": (7, 4000), "convention": "llava"}
        back = from_model(to_model((left, 3508, left + 1, 3509), **where), **where)
        assert 0 <= back[0] <= back[2] <= 7


def test_llava_and_shikra_do_not_care_for_the_processed_size() -> None:
    for name in ("llava", "shikra"):
        results = {to_model((10, 20, 30, 40), image_size=(90, 60), processed_size=size, convention=name)
                   for size in (None, (90, 90), (336, 336))}  # fmt: skip
        assert len(results) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"convention": "qwen3vl"},
            "`convention`: got 'qwen3vl', which is unknown. Did you mean `qwen3_vl`? Known: qwen_vl",
        ),
        ({"convention": None}, "got None, which is unknown"),
        ({"image_size": (0, 5)}, "`image_size`: got (0, 5), expected (width, height)"),
        ({"convention": "qwen2_5_vl"}, "`processed_size`: got None, expected (width, height) of the picture as fed"),
        ({"convention": "qwen2_5_vl", "processed_size": (28,)}, "`processed_size`: got (28,)"),
        ({"box": (0, 0, 5, 700)}, "box: got (0, 0, 5, 700), expected 0 <= x1"),
        ({"box": (0, 0, math.nan, 7)}, "box: got (0, 0, nan, 7)"),
        ({"box": (9, 0, 5, 7)}, "expected x1 < x2"),
    ],
)
def test_to_model_refuses(changes: dict, said: str) -> None:
    given = {"box": (1, 2, 3, 4), "image_size": (640, 480), "processed_size": None, "convention": "qwen2_vl"} | changes
    with pytest.raises(ValueError) as error:
        to_model(**given)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("name", "numbers", "said"),
    [
        ("qwen2_vl", (1, 2, 3), "qwen2_vl: got (1, 2, 3), expected 4 finite numbers"),
        ("qwen2_vl", (1, 2, math.nan, 4), "expected 4 finite numbers"),
        ("qwen2_vl", (5, 2, 1, 4), "expected the left top corner first"),
        ("paligemma", (1, 5, 4, 2), "expected the left top corner first"),  # y first: x runs from 5 to 2
        ("qwen2_vl", (1, 2, 3, 1051), "expected numbers from 0 to 1000"),
        ("qwen2_5_vl", (1, 2, 700, 4), "expected numbers from 0 to 644"),
        ("llava", (0.1, 0.2, 0.5, 1.06), "expected numbers from 0 to 1"),
        ("llava", (0.1, 0.0, 0.5, 0.05), "in its padding"),  # the upper 0.125 is padding
        ("kosmos2", (0, 1024), "expected patches 0 to 1023"),
        ("kosmos2", (3, 34), "expected the left top corner first"),  # column 3, then column 2
        ("molmo", (50, 120), "expected numbers from 0 to 100"),
    ],
)
def test_from_model_refuses(name: str, numbers: tuple, said: str) -> None:
    with pytest.raises(ValueError) as error:
        from_model(numbers, image_size=(640, 480), processed_size=(644, 476), convention=name)
    assert said in str(error.value)


def test_the_contract_names_are_the_conventions() -> None:
    names = (
        "qwen_vl qwen2_vl qwen2_5_vl qwen3_vl internvl llava shikra paligemma kosmos2 cogvlm deepseek_vl2 glm4v minicpm_v "
        "florence2 ferret molmo"
    )
    assert set(CONVENTIONS) == set(names.split())
    assert all(convention.source for convention in CONVENTIONS.values())
