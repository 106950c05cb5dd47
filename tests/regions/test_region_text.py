"""Text forms: what is written, and what is read of all that models write."""

import random
import time

import pytest

from llamafactory_hind.regions import CONVENTIONS, format_box, from_model, parse_boxes, to_model


SIZE = (640, 480)
BOX = (64, 48, 320, 240)  # a tenth and a half of both sides
WHERE = {"image_size": SIZE, "processed_size": (644, 476)}

WRITTEN = [  # name, with a label, without
    ("qwen_vl", "<ref>dog</ref><box>(100,100),(500,500)</box>", "<box>(100,100),(500,500)</box>"),
    (
        "qwen2_vl",
        "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(100,100),(500,500)<|box_end|>",
        "<|box_start|>(100,100),(500,500)<|box_end|>",
    ),
    # 64 * 644 / 640 = 64.4, 48 * 476 / 480 = 47.6
    ("qwen2_5_vl", '{"bbox_2d": [64, 48, 322, 238], "label": "dog"}', '{"bbox_2d": [64, 48, 322, 238]}'),
    ("qwen3_vl", '{"bbox_2d": [100, 100, 500, 500], "label": "dog"}', '{"bbox_2d": [100, 100, 500, 500]}'),
    ("internvl", "<ref>dog</ref><box>[[100, 100, 500, 500]]</box>", "<box>[[100, 100, 500, 500]]</box>"),
    ("llava", "[0.10, 0.20, 0.50, 0.50]", "[0.10, 0.20, 0.50, 0.50]"),
    ("shikra", "[0.100,0.200,0.500,0.500]", "[0.100,0.200,0.500,0.500]"),
    ("paligemma", "<loc0102><loc0102><loc0512><loc0512> dog", "<loc0102><loc0102><loc0512><loc0512>"),
    # First cell 3, 3; last ceil(16 - 1) = 15, 15
    (
        "kosmos2",
        "<phrase> dog</phrase><object><patch_index_0099><patch_index_0495></object>",
        "<object><patch_index_0099><patch_index_0495></object>",
    ),
    ("cogvlm", "[[100,100,500,500]]", "[[100,100,500,500]]"),
    ("deepseek_vl2", "<|ref|>dog<|/ref|><|det|>[[100, 100, 500, 500]]<|/det|>", "<|det|>[[100, 100, 500, 500]]<|/det|>"),
    ("glm4v", "<|begin_of_box|>[[100, 100, 500, 500]]<|end_of_box|>", "<|begin_of_box|>[[100, 100, 500, 500]]<|end_of_box|>"),
    ("minicpm_v", "<ref>dog</ref><box>100 100 500 500</box>", "<box>100 100 500 500</box>"),
    ("florence2", "dog<loc_100><loc_100><loc_500><loc_500>", "<loc_100><loc_100><loc_500><loc_500>"),
    ("ferret", "dog [100, 100, 500, 500] <region_fea>", "[100, 100, 500, 500] <region_fea>"),
    ("molmo", '<point x="30.0" y="30.0" alt="dog">dog</point>', '<point x="30.0" y="30.0" alt=""></point>'),
]  # fmt: skip


@pytest.mark.parametrize(("name", "labelled", "bare"), WRITTEN)
def test_format_box(name: str, labelled: str, bare: str) -> None:
    assert format_box(BOX, convention=name, label="dog", **WHERE) == labelled
    assert format_box(BOX, convention=name, **WHERE) == bare
    assert format_box(BOX, convention=name, label="", **WHERE) == bare


def test_every_convention_is_written_here() -> None:
    assert {name for name, _, _ in WRITTEN} == set(CONVENTIONS)


def test_small_numbers_keep_their_width() -> None:
    box = (0, 0, 1, 1)
    assert format_box(box, convention="cogvlm", image_size=(500, 500)) == "[[000,000,002,002]]"
    assert format_box(box, convention="paligemma", image_size=(500, 500)) == "<loc0000><loc0000><loc0002><loc0002>"
    assert "<patch_index_0000><patch_index_0000>" in format_box(box, convention="kosmos2", image_size=(500, 500))


def test_labels_are_kept_as_they_are() -> None:
    text = format_box(BOX, convention="qwen3_vl", label='a "red" Hündchen', **WHERE)
    assert text == '{"bbox_2d": [100, 100, 500, 500], "label": "a \\"red\\" Hündchen"}'
    text = format_box(BOX, convention="molmo", label='5" screen', **WHERE)
    assert text == '<point x="30.0" y="30.0" alt="5\' screen">5" screen</point>'
    assert parse_boxes(text, convention="molmo", **WHERE) == [(192.0, 144.0, 192.0, 144.0)]


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_what_is_written_is_read(name: str) -> None:
    rng = random.Random(0)
    texts, boxes = [], []
    for place in range(40):
        left, top = rng.randint(0, 600), rng.randint(0, 440)
        box = (left, top, rng.randint(left + 1, 640), rng.randint(top + 1, 480))
        numbers = to_model(box, convention=name, **WHERE)
        boxes.append(from_model(numbers, convention=name, **WHERE))
        texts.append(format_box(box, convention=name, label=rng.choice([None, "a dog, 3 m (left)"]), **WHERE))
        assert parse_boxes(texts[-1], convention=name, **WHERE) == boxes[-1:]
        assert parse_boxes(f"There: {texts[-1]}, {place}.", convention=name, **WHERE) == boxes[-1:]
    assert parse_boxes(" and\n".join(texts), convention=name, **WHERE) == boxes


HALF = (320.0, 240.0, 640.0, 480.0)
THIRD = (64.0, 48.0, 320.0, 240.0)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("qwen3_vl", '```json\n[\n\t{"bbox_2d": [100, 100, 500, 500], "label": "a"},\n\t{"bbox_2d": [500,500,1000,1000]}\n]\n```', [THIRD, HALF]),
        ("qwen3_vl", "It is at (500, 500), (1000, 1000).", [HALF]),
        ("qwen3_vl", "[[500, 500], [1000, 1000]]", [HALF]),
        ("qwen3_vl", "bbox: [ 500 ,500, 1000,1000 ]", [HALF]),
        ("qwen3_vl", "[500.0, 500.00, 1000., 1000]", [HALF]),
        ("qwen3_vl", "<answer>500, 500, 1000, 1000</answer>", [HALF]),
        ("qwen2_vl", "dog(500,500),(1000,1000)", [HALF]),  # special tokens were skipped
        ("qwen2_vl", "<|box_start|>(100, 100), (500, 500)<|box_end|><|box_start|>(500,500),(1000,1000)<|box_end|>", [THIRD, HALF]),
        ("qwen_vl", "<ref>a</ref><box>(0,0),(999,999)</box>", [(0, 0, 640, 480)]),
        ("internvl", "<box>[[100, 100, 500, 500], [500, 500, 1000, 1000]]</box>", [THIRD, HALF]),
        ("glm4v", "{500, 500, 1000, 1000}", [HALF]),
        ("glm4v", "<|begin_of_box|>(500,500,1000,1000)<|end_of_box|>", [HALF]),
        ("glm4v", "<500, 500, 1000, 1000>", [HALF]),
        ("glm4v", "方框（500，500，1000，1000）", [HALF]),
        ("cogvlm", "[[100,100,500,500;500,500,999,999]]", [THIRD, (320, 240, 639.36, 479.52)]),
        ("shikra", "a man[0.100,0.200,0.500,0.500;0.500,0.500,1.000,0.875] there", [THIRD, (320, 240, 640, 480)]),
        ("minicpm_v", "<ref>x</ref><box>500 500 1000 1000</box> <box> 100 100 500 500 </box>", [HALF, THIRD]),
        ("deepseek_vl2", "<|ref|>x<|/ref|><|det|>[[100, 100, 500, 500], [0, 0, 999, 999]]<|/det|>", [THIRD, (0, 0, 640, 480)]),
        ("paligemma", "<loc0000><loc0000><loc1023><loc1023> dog ; <loc0000> <loc0000><loc0000><loc1023> cat", [(0, 0, 640, 480), (0, 0, 640, 0)]),
        ("florence2", "</s>dog<loc_0><loc_0><loc_999><loc_999><loc_0><loc_0><loc_999><loc_999></s>", [(0.32, 0.24, 639.68, 479.76)] * 2),
        ("kosmos2", "<object><patch_index_0000><patch_index_1023></delimiter_of_multi_objects/><patch_index_0000><patch_index_0000></object>", [(10, 7.5, 630, 472.5), (0, 0, 20, 15)]),
        ("kosmos2", "<object> <patch_index_0000> <patch_index_1023> </object>", [(10, 7.5, 630, 472.5)]),
        ("molmo", '<points x1="10.0" y1="20.0" x2="50.0" y2="50" alt="dogs">dogs</points>', [(64, 96, 64, 96), (320, 240, 320, 240)]),
        ("molmo", "<point y='50' x = 50.0 alt='x=\"1\" y=\"2\"'>", [(320, 240, 320, 240)]),
        ("qwen2_5_vl", '{"bbox_2d": [0, 0, 644, 476]}', [(0, 0, 640, 480)]),
        ("qwen3_vl", "[500, 500, 1010, 1000]", [HALF]),  # a little off the grid
    ],
)  # fmt: skip
def test_what_models_write_is_read(name: str, text: str, expected: list) -> None:
    assert parse_boxes(text, convention=name, **WHERE) == [pytest.approx(box) for box in expected]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("qwen3_vl", ""),
        ("qwen3_vl", "no box here, but 1, 2, 3, 4 apples"),
        ("qwen3_vl", '{"bbox_2d": [100, 100, 500'),  # breaks off
        ("qwen3_vl", '{"bbox_2d": [100, 100, 500, 50'),  # perhaps 500
        ("qwen3_vl", "[100, 100, 500]"),
        ("qwen3_vl", "[100, 100, 500, 500, 600]"),
        ("qwen3_vl", "[500, 100, 100, 500]"),  # corners in the wrong order
        ("qwen3_vl", "[100, 100, 1500, 500]"),  # pixels, not thousandths
        ("qwen3_vl", "[100, 100, NaN, 500] [1e2, 100, 500, 500] [x, 1, 2, 3] [1..2, 3, 4, 5]"),
        ("qwen3_vl", "[99999999999999999999999, 1, 2, 3]"),
        ("qwen2_vl", "(100,100),(500"),
        ("llava", "[100, 100, 500, 500]"),
        ("paligemma", "<loc0001><loc0002><loc0003>"),
        ("paligemma", "<loc0001><loc0002> dog <loc0003><loc0004>"),
        ("paligemma", "<loc0900><loc0001><loc0002><loc0003>"),
        ("paligemma", "<loc9999><loc0001><loc9999><loc0003>"),
        ("florence2", "<loc_><loc_1><loc_2><loc_3>"),
        ("kosmos2", "<patch_index_0005>"),
        ("kosmos2", "<patch_index_0900><patch_index_0001>"),
        ("kosmos2", "<patch_index_2000><patch_index_2001>"),
        ("molmo", '<point x="10.0" y="20'),
        ("molmo", '<point x="10.0" alt="x">x</point>'),
        ("molmo", '<point x="300" y="20">'),
        ("molmo", '<pointer x="30" y="20">'),
    ],
)
def test_what_is_malformed_is_left_out(name: str, text: str) -> None:
    assert parse_boxes(text, convention=name, **WHERE) == []


def test_a_bad_box_does_not_take_the_good_ones_with_it() -> None:
    text = "[1, 2, 3] [100, 100, 500, 500] [500, 1, 1, 1] [500, 500, 1000, 1000] [5,"
    assert parse_boxes(text, convention="qwen3_vl", **WHERE) == [THIRD, HALF]
    text = "<loc0000><loc0000><loc1023><loc1023> a ; <loc0000><loc0000> b"
    assert parse_boxes(text, convention="paligemma", **WHERE) == [(0, 0, 640, 480)]


@pytest.mark.parametrize("name", sorted(CONVENTIONS))
def test_no_text_raises_and_every_box_lies_in_the_picture(name: str) -> None:
    """Good texts broken anywhere, and noise of the characters that matter."""
    rng = random.Random(1)
    good = {entry: text for entry, text, _ in WRITTEN}[name]
    alphabet = [
        *"0123456789.,;-[](){}<>\"'= \n一\uff15",
        *good.split(","),
        "<loc",
        "<patch_index_",
        "<point ",
        "x1=",
        "nan",
    ]
    for _ in range(300):
        text = "".join(rng.choices(alphabet, k=rng.randint(0, 60)))
        cut = rng.randint(0, len(good))
        for broken in (text, good[:cut], good[cut:], good[:cut] + text + good[cut:]):
            for box in parse_boxes(broken, convention=name, **WHERE):
                assert 0 <= box[0] <= box[2] <= 640
                assert 0 <= box[1] <= box[3] <= 480


@pytest.mark.parametrize(
    "piece", ["[", "[1,", "1", " ", "[ ", "(1,2),", "<loc0001>", "<point ", "<point x=1", "alt='", ";1 1 1"]
)
@pytest.mark.parametrize("name", ["qwen3_vl", "paligemma", "molmo"])
def test_hostile_texts_take_no_time(name: str, piece: str) -> None:
    started = time.process_time()  # of the processor: nothing that other programs do counts
    parse_boxes(piece * 30_000, convention=name, **WHERE)
    assert time.process_time() - started < 3


def test_an_unknown_convention_or_size_is_told() -> None:
    with pytest.raises(ValueError, match="`convention`: got 'qwen'"):
        parse_boxes("", convention="qwen", image_size=SIZE)
    with pytest.raises(ValueError, match="`processed_size`: got None"):
        parse_boxes("", convention="qwen2_5_vl", image_size=SIZE)
