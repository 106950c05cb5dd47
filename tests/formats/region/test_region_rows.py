"""`formats.region`: what becomes of a row in each style, what a bad one is told, and LSKD's augmentation."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from llamafactory_hind.evaluation.score import run_score
from llamafactory_hind.formats.align.tables import FOR_EVALUATION
from llamafactory_hind.formats.media.drawn import draw_if_asked, drawing_of, picture_size
from llamafactory_hind.formats.problems import BadRowsError
from llamafactory_hind.formats.region.options import STYLES, RegionOptions, read_options
from llamafactory_hind.formats.region.record import read_row, record_problems
from llamafactory_hind.formats.region.rows import find_problems, question_of, response_of
from llamafactory_hind.formats.region.showing import show_regions
from llamafactory_hind.regions import crop, draw_boxes, draw_marks
from llamafactory_hind.storage.digests import digest_path
from shared.formats import FormatSetup, picture, write_rows


DOGS = [
    {"image": 0, "box": [64, 48, 320, 240], "label": "dog"},
    {"image": 0, "box": [10, 10, 50, 50.5], "label": "dog"},
    {"box": [400, 300, 640, 480]},
]
ROW = {
    "id": "r1",
    "images": ["a.png"],
    "regions": DOGS,
    "question": "Why does <region:1> run?",
    "answer": "<region:1> is young.",
    "rationale": "Because it is.",
    "critic": 0.91,
}


@pytest.fixture
def setup(tmp_path: Path) -> FormatSetup:
    Image.effect_noise((640, 480), 40).convert("RGB").save(tmp_path / "a.png")
    Image.new("RGB", (100, 300), "red").save(tmp_path / "b.png")
    found = FormatSetup(tmp_path)
    found.data_args.template = "qwen2_vl_region"
    return found


def align(setup: FormatSetup, rows: Any, **info: Any) -> Any:
    return setup.align(rows, **({"formatting": "region"} | info))


@pytest.mark.parametrize(
    ("style", "question", "answer"),
    [
        ("coordinates", "Why does <box:0:10,10,50,50.5:dog> run?", "<box:0:10,10,50,50.5:dog> is young."),
        ("marks", "Why does [0] run?", "[0] is young."),
        ("both", "Why does [0] <box:0:10,10,50,50.5:dog> run?", "[0] <box:0:10,10,50,50.5:dog> is young."),
        ("crop", "Why does region 0 run?\nregion 0: <image>", "region 0 is young."),
        ("name", "Why does dog 2 run?", "dog 2 is young."),
    ],
)
def test_styles(setup: FormatSetup, style: str, question: str, answer: str) -> None:
    """Only region 1 is mentioned: it becomes number 0, as LSKD re-indexes; two regions are called dog."""
    (found,) = align(setup, [ROW], region_style=style)
    assert found["_prompt"] == [{"role": "user", "content": f"<image>{question}"}]
    assert found["_response"] == [{"role": "assistant", "content": answer}]
    columns, path = json.loads(found["_columns"]), str(setup.folder / "a.png")
    assert columns["answer"] == answer
    assert (columns["boxes"], columns["box_image"], columns["critic"]) == ([[10, 10, 50, 50.5]], 0, 0.91)
    with Image.open(path) as image:
        expected = {
            "marks": [draw_boxes(image, [(10, 10, 50, 50.5)])],
            "both": [draw_boxes(image, [(10, 10, 50, 50.5)])],
            "crop": [image.copy(), crop(image, (10, 10, 50, 50.5))],
        }.get(style, [image.copy()])
    pictures = [draw_if_asked(entry) for entry in found["_images"]]
    opened = [Image.open(one) if isinstance(one, str) else one for one in pictures]
    assert [one.tobytes() for one in opened] == [one.tobytes() for one in expected]
    assert {picture_size(entry) for entry in found["_images"]} == {(640, 480)}  # of the original


def test_marks(setup: FormatSetup) -> None:
    """All three are mentioned; the third has an outline of its own."""
    outline = [[[400, 300], [640, 300], [520, 480]]]
    regions = [*DOGS[:2], DOGS[2] | {"polygons": outline}]
    row = ROW | {"regions": regions, "question": "Compare <region:0>, <region:1> and <region:2>."}
    boxes = [region["box"] for region in regions]
    with Image.open(setup.folder / "a.png") as image:
        expected = {"boxes": draw_boxes(image, boxes), "numbers": draw_marks(image, boxes)}
    drawn = {}
    for marks in ("boxes", "numbers", "polygons"):
        (found,) = align(setup, [row], region_style="marks", region_marks=marks)
        assert found["_prompt"][0]["content"] == "<image>Compare [0], [1] and [2]."
        drawn[marks] = draw_if_asked(found["_images"][0])
    assert all(drawn[marks].tobytes() == image.tobytes() for marks, image in expected.items())
    same, other = (30, 30), (410, 470)  # in a box; in the third box, outside of its triangle
    assert drawn["polygons"].getpixel(same) == drawn["boxes"].getpixel(same)
    assert drawn["polygons"].getpixel(other) != drawn["boxes"].getpixel(other)


def test_boxes_belong_to_an_image(setup: FormatSetup) -> None:
    regions = [{"image": 1, "box": [5, 5, 90, 250]}, {"image": 0, "box": [0, 0, 640, 480], "label": "all"}]
    row = ROW | {"images": ["a.png", "b.png"], "regions": regions, "question": "Is <region:0> in <region:1>?"}
    row["answer"] = "no"
    (found,) = align(setup, [row])
    assert found["_prompt"][0]["content"] == "<image><image>Is <box:1:5,5,90,250> in <box:0:0,0,640,480:all>?"
    assert json.loads(found["_columns"])["boxes"] is None  # the answer points at nothing: no reward for pointing
    (found,) = align(setup, [row], region_style="marks")
    assert [drawing_of(entry)["numbers"] for entry in found["_images"]] == [[1], [0]]
    messages = [
        {"role": "user", "content": "<image>First <region:1>."},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "<image>Then <region:0>?"},
    ]
    turns = {"messages": messages, "question": None, "answer": "<region:0>"}
    (found,) = align(setup, [row | turns], region_style="crop")
    contents = [turn["content"] for turn in found["_prompt"]]
    assert contents == [
        "<image>First region 1.\nregion 0: <image>\nregion 1: <image>",
        "Yes.",
        "<image>Then region 0?",
    ]
    crops = [drawing_of(entry) and drawing_of(entry)["crop"] for entry in found["_images"]]
    assert crops == [None, [5, 5, 90, 250], [0, 0, 640, 480], None]
    assert json.loads(found["_columns"])["box_image"] == 3  # b.png stands behind the two cuts


def test_an_answer_is_not_given_away(setup: FormatSetup) -> None:
    """Were the one region drawn that the answer alone mentions, the picture would tell the answer."""
    row = ROW | {"question": "Which dog is the smaller one?", "answer": "<region:1>"}
    (found,) = align(setup, [row], region_style="marks")
    assert drawing_of(found["_images"][0])["numbers"] == [0, 1, 2]
    assert found["_response"][0]["content"] == "[1]"


def test_targets_and_pairs(setup: FormatSetup) -> None:
    row = ROW | {"choices": ["it is old", ["it", "sees", [0]]], "chosen": "<region:0>", "rejected": "<region:2>"}
    texts = {}
    for target in ("answer", "rationale", "answer_rationale"):
        (found,) = align(setup, [row], region_style="name", target=target)
        texts[target] = (found["_prompt"][0]["content"], found["_response"][0]["content"])
    asked = "<image>Why does dog 2 run?\nChoices: (A) it is old (B) it sees dog 1"
    assert texts["answer"] == (asked, "dog 2 is young.")
    assert texts["rationale"] == (f"{asked}\nAnswer: dog 2 is young.", "Because it is.")
    assert texts["answer_rationale"] == (asked, "dog 2 is young.\nRationale: Because it is.")
    (found,) = align(setup, [row], ranking=True)
    assert [turn["content"] for turn in found["_response"]] == ["<box:0:64,48,320,240:dog>", "<box:0:400,300,640,480>"]


def test_token_lists_are_read_as_their_texts(setup: FormatSetup) -> None:
    tokens = {"question": ["Why", "does", "n't", [0, "1"], "run", "?"], "answer": [[1], "is", "young", "."]}
    texts = {"question": "Why doesn't <region:0> and <region:1> run?", "answer": "<region:1> is young."}
    first, second = (align(setup, [ROW | form])[0] for form in (tokens, texts))
    names = ("_prompt", "_response", "_images")
    assert {name: first[name] for name in names} == {name: second[name] for name in names}
    assert read_row(ROW | tokens) == read_row(ROW | texts)


@pytest.mark.parametrize("name", ["messages", "external", "choices"])
def test_a_blank_text_in_the_place_of_a_list_is_none(setup: FormatSetup, name: str) -> None:
    """As in the other formats, which CSV needs: a cell is a text."""
    assert read_row(ROW | {name: " "}) == read_row(ROW | {name: None})
    assert align(setup, [ROW | {name: " "}])["_prompt"] == align(setup, [ROW | {name: None}])["_prompt"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"regions": 3}, "field `regions`: got 3, expected a list of regions"),
        ({"regions": [3]}, "field `regions[0]`: got 3, expected"),
        ({"regions": [*DOGS[:2], {"box": 7}]}, "field `regions[2].box`: got 7, expected a list [x1, y1, x2, y2]"),
        (
            {"regions": [*DOGS[:2], {"box": [1, 2, 3]}]},
            "field `regions[2].box`: got [1.0, 2.0, 3.0], expected four finite",
        ),
        (
            {"regions": [*DOGS[:2], {"box": [1, 2, float("nan"), 4]}]},
            "field `regions[2].box`: got [1.0, 2.0, nan, 4.0]",
        ),
        ({"regions": [*DOGS[:2], {"box": [5, 2, 5, 4]}]}, "got [5.0, 2.0, 5.0, 4.0], expected x1 < x2 and y1 < y2"),
        (
            {"regions": [*DOGS[:2], {"box": [5, 2, 9, 481]}]},
            "expected a box within image 0, which is 640 x 480 pixels",
        ),
        ({"regions": [*DOGS[:2], {"image": 1, "box": [1, 2, 3, 4]}]}, "field `regions[2].image`: got 1, expected 0"),
        (
            {"regions": [*DOGS[:2], {"image": "0", "box": [1, 2, 3, 4]}]},
            "field `regions[2].image`: got '0', expected 0",
        ),
        ({"regions": [DOGS[0], DOGS[1] | {"label": "a < b"}]}, "field `regions[1].label`: got 'a < b'"),
        ({"regions": [DOGS[0], DOGS[1] | {"label": 3}]}, "field `regions[1].label`: got 3, expected text"),
        ({"regions": [DOGS[0], DOGS[1] | {"polygons": [[[1, 2]]]}]}, "field `regions[1].polygons[0]`: got [[1, 2]]"),
        ({"question": "Is <region:3> old?"}, "field `question`: got <region:3>, expected <region:0> to <region:2>"),
        ({"question": "Is < Region 1> old?"}, "field `question`: got < Region 1>, expected the form <region:0>"),
        ({"question": ["Is", 3]}, "field `question`: got 3 (token 1), expected a text, or a list of the numbers"),
        ({"answer": ["It", [-1]]}, "field `answer`: got [-1] (token 1)"),
        ({"answer": {"text": "x"}}, "field `answer`: got {'text': 'x'}, expected a text or a list of tokens"),
        ({"choices": ["<region:9>"]}, "field `choices[0]`: got <region:9>"),
        ({"choices": "yes"}, "field `choices`: got 'yes', expected a list of texts"),
        ({"external": [{"source": "a", "text": "<region:5>"}]}, "field `external[0].text`: got <region:5>"),
        ({"question": None, "messages": [{"role": "user", "content": "<region:4>"}]}, "field `messages[0].content`"),
        ({"messages": "<video>"}, "field `messages`: got '<video>', expected a list of"),
        ({"messages": ["Is it?"]}, "field `messages[0]`: got 'Is it?'"),
        ({"question": None, "messages": [{"role": "user"}]}, "field `messages[0].content`: got nothing"),
        ({"external": "no"}, "field `external`: got 'no', expected a list of"),
        ({"external": [{"source": "a", "text": 7}]}, "field `external[0].text`: got 7, expected non-empty text"),
        ({"question": None}, "field `question, messages`: got nothing, expected one of the two"),
        ({"question": "<image><image> <region:0>?"}, "field `question`: got 2 <image> in the text and 1 entries"),
        ({"question": "Is <box:1,2,3> old?"}, "got '<box:1,2,3>', expected a box as <box:0:64,48,320,240:dog>"),
        ({"answer": "<image>"}, "field `answer`: got '<image>', expected text without media placeholders"),
        ({"system": -1}, "field `system`: got -1, expected text"),
        ({"hint": ["look"]}, "field `hint`: got ['look'], expected text"),
        ({"critic": "high"}, "field `critic`: got 'high', expected a finite number"),
        ({"images": ["gone.png"]}, "field `images[0]`: got"),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(setup: FormatSetup, change: dict, said: str) -> None:
    rows = [ROW, ROW | {"id": "bad"} | change, ROW | {"id": "r3"}]
    write_rows(setup.folder / "rows.json", rows)
    with pytest.raises(BadRowsError) as error:
        align(setup, None)
    assert f"{setup.folder}/rows.json, row 2, field `" in str(error.value)
    assert said in str(error.value)
    assert "row 1," not in str(error.value)
    found = align(setup, None, skip_bad_rows=True)
    assert [json.loads(text)["id"] for text in found["_columns"]] == ["r1", "r3"]
    assert [line["row"] for line in setup.skipped()] == [2]


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"region_style": "box"}, "region_style: got 'box', expected one of coordinates, marks, both, crop, name"),
        ({"region_stile": "marks"}, "region_stile: unknown key; did you mean `region_style`"),
        ({"region_marks": 3}, "region_marks: got 3, expected one of boxes, numbers, polygons"),
        ({"region_shuffle": 1}, "region_shuffle: got 1, expected true or false"),
        ({"region_seed": "a"}, "region_seed: got 'a', expected a whole number"),
        ({"target": "cot"}, "target: got 'cot', expected one of answer, rationale, answer_rationale"),
        ({"ranking": True, "target": "answer"}, "target: got a target with ranking, expected none"),
        ({"columns": {"prompt": "q"}}, "columns.prompt: unknown field; did you mean `question`"),
    ],
)
def test_wrong_options(info: dict, said: str) -> None:
    with pytest.raises(ValueError, match="dataset mine") as error:
        read_options({"file_name": "x.json", "formatting": "region"} | info, name="mine")
    assert said in str(error.value)


@pytest.mark.parametrize("style", STYLES)
def test_styles_need_a_template_that_knows_regions(setup: FormatSetup, style: str) -> None:
    setup.data_args.template = "qwen2_vl"
    if style == "name":
        assert len(align(setup, [ROW], region_style=style)) == 1
        return
    with pytest.raises(ValueError, match="Set `template: qwen2_vl_region`"):
        align(setup, [ROW], region_style=style)
    setup.data_args.template = "gemma3_region"
    if style in ("coordinates", "both"):
        with pytest.raises(ValueError, match="expected a family with a published form of boxes"):
            align(setup, [ROW], region_style=style)
    else:
        assert len(align(setup, [ROW], region_style=style)) == 1


def test_shuffling_keeps_picture_and_text_together(setup: FormatSetup) -> None:
    """LSKD: half of the rows draw what they mention, half all regions, in any order; the place is the number in both."""
    rows = [ROW | {"id": number, "question": "Do <region:0> and <region:1> run?"} for number in range(60)]
    (stored, shuffled, again, other) = (
        align(setup, rows, region_style="marks", region_marks="numbers", **options)
        for options in (
            {},
            {"region_shuffle": True},
            {"region_shuffle": True},
            {"region_shuffle": True, "region_seed": 1},
        )
    )
    assert shuffled[:] == again[:]
    assert shuffled["_prompt"] != other["_prompt"]
    orders = [tuple(json.loads(text)["region_order"]) for text in shuffled["_columns"]]
    for found, order in zip(shuffled, orders, strict=True):
        drawing = drawing_of(found["_images"][0])
        boxes = dict(zip(drawing["numbers"], drawing["boxes"], strict=True))
        named = [int(number) for number in re.findall(r"\[(\d+)\]", found["_prompt"][0]["content"])]
        assert [boxes[number] for number in named] == [DOGS[0]["box"], DOGS[1]["box"]]
        assert [DOGS[index]["box"] for index in order] == drawing["boxes"]
        assert found["_response"][0]["content"] == f"[{named[1]}] is young."
    with_distractor = sum(len(order) == 3 for order in orders)
    assert 18 <= with_distractor <= 42  # of 60 with p = 0.5: 3 deviations
    assert len(set(orders)) == 2 + 6  # every order of two and of three
    token = FOR_EVALUATION.set(True)
    try:
        evaluated = align(setup, rows, region_style="marks", region_marks="numbers", region_shuffle=True)
    finally:
        FOR_EVALUATION.reset(token)
    assert evaluated["_prompt"] == stored["_prompt"]
    assert evaluated["_images"] == stored["_images"]


def test_embedded_pictures_cannot_be_drawn_on(setup: FormatSetup) -> None:
    from llamafactory_hind.formats import get_converters
    from llamafactory_hind.formats.media.check import MediaCheck

    content = (setup.folder / "a.png").read_bytes()
    row = ROW | {"images": [{"bytes": content, "path": None}]}
    for style, problems in (("coordinates", 0), ("marks", 1)):
        attribute = setup.attribute({"file_name": "x", "formatting": "region", "region_style": style})
        found = list(get_converters()["region"](attribute, setup.data_args).problems(row, MediaCheck()))
        assert [problem.field for problem in found] == ["images[0]"] * problems


def test_what_pipelines_and_scores_read() -> None:
    """Without the host: regions by name."""
    assert not list(find_problems(ROW, RegionOptions()))
    assert question_of(ROW) == "Why does dog 2 run?"
    assert response_of(ROW, RegionOptions(region_style="name")) == "dog 2 is young."
    assert response_of(ROW, RegionOptions()) is None  # how the model writes a box is not known
    assert response_of(ROW | {"answer": 3}, RegionOptions()) == "3"
    assert question_of(ROW | {"regions": None}) is None
    assert question_of({"question": "What is it?", "images": ["a.png"]}) == "What is it?"
    assert not list(record_problems({"question": "no regions at all"}))
    showing = show_regions(read_row(ROW), RegionOptions(region_style="marks"))
    assert (showing.order, showing.write("<region:1>")) == ((1,), "[0]")


def test_predictions_of_the_host_are_scored(setup: FormatSetup, capsys: pytest.CaptureFixture) -> None:
    """A box in 0..1000 of 640 x 480: 100, 100, 500, 500 is 64, 48, 320, 240. The second answer is half of the gold box."""
    size = {"convention": "qwen3_vl", "image_size": [640, 480]}
    rows = [ROW | size | {"id": number, "answer": "<region:0>"} for number in range(2)]
    write_rows(setup.folder / "rows.json", rows)
    info = {"mine": {"file_name": "rows.json", "formatting": "region"}}
    (setup.folder / "dataset_info.json").write_text(json.dumps(info))
    boxes = ["[100, 100, 500, 500]", "[100, 100, 300, 500]"]
    prompt = 'user\nWhy does {"bbox_2d": [16, 21, 78, 105], "label": "dog"} run?\nassistant\n'
    label = '{"bbox_2d": [100, 100, 500, 500], "label": "dog"}'
    predictions = setup.folder / "generated_predictions.jsonl"
    write_rows(predictions, [{"prompt": prompt, "predict": box, "label": label} for box in boxes])
    words = {"metric": "box_iou", "predictions": predictions, "dataset": "mine", "dataset_dir": setup.folder}
    run_score([f"{key}={value}" for key, value in words.items()])
    report = json.loads((setup.folder / "generated_predictions.score.json").read_text())
    assert report["metrics"]["box_iou"]["parts"]["mean_iou"]["score"] == pytest.approx(0.75)


def test_a_picture_is_told_apart_by_what_is_drawn(setup: FormatSetup) -> None:
    path = picture(setup.folder / "c.png")
    full = str(setup.folder / path) if not Path(path).is_absolute() else path
    names = [digest_path(f"{full}{ending}") for ending in ("", "#region={1}", "#region={2}")]
    assert len(set(names)) == 3
    digest_path.cache_clear()
    Image.new("RGB", (9, 9), "green").save(full)
    assert not {digest_path(f"{full}{ending}") for ending in ("", "#region={1}", "#region={2}")} & set(names)
