"""`formats.templates`: for every family, the box in the tokens is the box in the pixels that its processor makes."""

import pickle
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from llamafactory.data.template import TEMPLATES
from PIL import Image, ImageDraw
from transformers import (
    Glm4vImageProcessor,
    GotOcr2ImageProcessor,
    LlavaImageProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
    SiglipImageProcessor,
)

from llamafactory_hind.formats.media.drawn import draw_if_asked, picture_size, with_drawing
from llamafactory_hind.formats.templates.conventions import BY_TEMPLATE, convention_of
from llamafactory_hind.regions import draw_boxes, format_box, parse_boxes
from llamafactory_hind.toyworld.checkpoint import train_tokenizer


LIMITS = {"image_max_pixels": 768 * 768, "image_min_pixels": 32 * 32}
SIZES = [(1920, 822), (84, 84), (210, 500), (20, 40)]  # shrunk by the host, kept, rounded, enlarged
SHARES = (0.25, 0.3, 0.7, 0.85)  # of the picture, where its box is


@cache
def tokenizer() -> Any:
    words = ["Where is the dog?", "system\nYou are a helpful assistant.", "user\n", "assistant\n"]
    made = train_tokenizer(words)
    made.add_tokens([f"<loc{number:04d}>" for number in range(1024)], special_tokens=True)
    return made


def unpatched(inputs: dict[str, Any], processor: Any) -> np.ndarray:
    """Return (H, W, 3) of the one picture, from Qwen's rows of patches: tiles of merge x merge patches, each C x T x p x p."""
    _, rows, columns = inputs["image_grid_thw"][0].tolist()
    own = processor.image_processor
    merge, patch = own.merge_size, own.patch_size
    shape = (rows // merge, columns // merge, merge, merge, 3, own.temporal_patch_size, patch, patch)
    tiles = inputs["pixel_values"].reshape(shape)[:, :, :, :, :, 0]
    return tiles.permute(0, 2, 5, 1, 3, 6, 4).reshape(rows * patch, columns * patch, 3).numpy()


def last_tile(inputs: dict[str, Any], processor: Any) -> np.ndarray:
    """Return (H, W, 3) of the whole picture, which stands behind its tiles."""
    return inputs["pixel_values"][-1].permute(1, 2, 0).numpy()


class SlicesOfMiniCPM:
    """Stands in for a processor whose code is not part of transformers: it keeps the picture as it is."""

    max_slice_nums, use_image_id = 9, False

    def __call__(self, images: Any, **_: Any) -> dict[str, Any]:
        pixels = torch.tensor(np.array(images[0])).permute(2, 0, 1).float()
        return {"pixel_values": [pixels], "image_sizes": [[images[0].size]]}

    def get_slice_image_placeholder(self, size: Any, *_: Any) -> str:
        return "(<image>./</image>)"


@dataclass(frozen=True)
class Family:
    template: str
    convention: str
    make: Any
    see: Any


def qwen(kind: type, video: type, **options: Any) -> Any:
    images = Qwen2VLImageProcessor(**options)
    return lambda: kind(image_processor=images, tokenizer=tokenizer(), video_processor=video())


def bare(image_processor: Any, **more: Any) -> Any:
    return lambda: SimpleNamespace(image_processor=image_processor, model_input_names=[], **more)


FAMILIES = [
    Family("qwen2_vl", "qwen2_vl", qwen(Qwen2VLProcessor, Qwen2VLVideoProcessor), unpatched),
    Family("qwen2_vl", "qwen2_5_vl", qwen(Qwen2_5_VLProcessor, Qwen2VLVideoProcessor), unpatched),
    Family("qwen3_vl", "qwen3_vl", qwen(Qwen3VLProcessor, Qwen3VLVideoProcessor, patch_size=16), unpatched),
    Family("glm4v", "glm4v", bare(Glm4vImageProcessor()), unpatched),
    Family(
        "intern_vl", "internvl", bare(GotOcr2ImageProcessor(), image_seq_length=4, crop_to_patches=True), last_tile
    ),
    Family("paligemma", "paligemma", bare(SiglipImageProcessor(), image_seq_length=4), last_tile),
    Family(
        "llava",
        "llava",
        bare(
            LlavaImageProcessor(do_pad=True, do_center_crop=False, size={"height": 336, "width": 336}),
            patch_size=14,
            num_additional_image_tokens=1,
            vision_feature_select_strategy="default",
        ),
        last_tile,
    ),
    Family("minicpm_v", "minicpm_v", bare(SlicesOfMiniCPM()), last_tile),
]


def processor_of(family: Family) -> Any:
    made = family.make()
    for name, value in LIMITS.items():
        setattr(made, name, value)
    return made


def name_of(family: Family) -> str:
    return family.convention


def picture_with_a_box(path: Path, size: tuple[int, int]) -> tuple[str, tuple[int, int, int, int]]:
    """Write a black picture with a white rectangle; return its name and the rectangle, right and bottom exclusive."""
    (width, height), image = size, Image.new("RGB", size)
    box = tuple(round(share * side) for share, side in zip(SHARES, (width, height, width, height), strict=True))
    ImageDraw.Draw(image).rectangle((box[0], box[1], box[2] - 1, box[3] - 1), fill="white")
    image.save(path)
    return str(path), box


def white_box(pixels: np.ndarray) -> tuple[int, int, int, int]:
    """Return the bounds of what is nearer to white than to black."""
    gray = pixels.mean(axis=2)
    rows, columns = np.nonzero(gray > (gray.min() + gray.max()) / 2)
    return columns.min(), rows.min(), columns.max() + 1, rows.max() + 1


def prompt_ids(template: Any, text: str, answer: str, images: list[Any], processor: Any) -> list[int]:
    turns = [{"role": "user", "content": f"<image>{text}"}, {"role": "assistant", "content": answer}]
    messages = template.mm_plugin.process_messages(turns, images, [], [], processor)
    prompt, response = template.encode_oneturn(tokenizer(), messages)
    ids, _ = template.mm_plugin.process_token_ids(prompt + response, None, images, [], [], tokenizer(), processor)
    return list(ids)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_the_box_in_the_tokens_is_the_box_in_the_pixels(family: Family, size: tuple[int, int], tmp_path: Path) -> None:
    """Tokens equal those of the host with the box typed in by hand; the numbers are where the processor's pixels are white."""
    image, box = picture_with_a_box(tmp_path / "a.png", size)
    host, ours, processor = TEMPLATES[family.template], TEMPLATES[f"{family.template}_region"], processor_of(family)
    inline = f"<box:0:{','.join(map(str, box))}:dog>"
    found = prompt_ids(ours, f"Where is {inline}?", f"It is {inline}.", [image], processor)

    inputs = ours.mm_plugin._get_mm_inputs([image], [], [], processor)
    seen = family.see(inputs, processor)
    height, width = seen.shape[:2]
    geometry = ours.mm_plugin.geometry(image, processor)
    assert geometry["convention"] == family.convention
    assert geometry["processed_size"] in (None, [width, height])
    assert geometry["image_size"] == list(size)
    sizes = {"image_size": size, "processed_size": (width, height), "convention": family.convention}
    typed = format_box(box, label="dog", **sizes)
    if family.convention in ("glm4v", "llava"):  # forms without a place for a label
        typed = f"dog {typed}"
    assert found == prompt_ids(host, f"Where is {typed}?", f"It is {typed}.", [image], processor)

    (read,) = ours.mm_plugin.read_boxes(f"It is {typed}.", image, processor)
    (same,) = parse_boxes(typed, **sizes)
    assert read == same
    # from the original's pixels to those of the model, through nothing but its sizes
    side = max(size)
    pad = [(side - length) // 2 for length in size] if family.convention == "llava" else [0, 0]
    base = (side, side) if family.convention == "llava" else size
    as_fed = [(value + pad[at % 2]) / base[at % 2] * (width, height)[at % 2] for at, value in enumerate(read)]
    cell = max(width, height) / (100 if family.convention == "llava" else 1000)
    assert as_fed == pytest.approx(white_box(seen), abs=2 + cell)


def test_qwen2_5_boxes_are_those_of_the_hosts_resize(tmp_path: Path) -> None:
    """1920 x 822 is first cut to 589,824 pixels (1173 x 502), then rounded to 1176 x 504: facts page 3.3.

    960 / 1920 * 1176 = 588, 411 / 822 * 504 = 252, 1440 / 1920 * 1176 = 882, 548 / 822 * 504 = 336.
    """
    image = tmp_path / "wide.png"
    Image.new("RGB", (1920, 822)).save(image)
    processor = processor_of(FAMILIES[1])
    plugin = TEMPLATES["qwen2_vl_region"].mm_plugin
    assert plugin.geometry(str(image), processor)["processed_size"] == [1176, 504]
    text = plugin.write_boxes("<box:960,411,1440,548>", [str(image)], processor)
    assert text == '{"bbox_2d": [588, 252, 882, 336]}'
    assert plugin.read_boxes(text, str(image), processor) == [(960, 411, 1440, 548)]


def test_drawings_are_on_the_original_before_any_resize(tmp_path: Path) -> None:
    image, box = picture_with_a_box(tmp_path / "a.png", (1920, 822))
    drawing = {"marks": "boxes", "boxes": [list(box)], "numbers": [0]}
    with Image.open(image) as plain:
        drawn = draw_boxes(plain, [box])
    for family in FAMILIES:
        processor, plugin = processor_of(family), TEMPLATES[f"{family.template}_region"].mm_plugin
        named = plugin._get_mm_inputs([with_drawing(image, drawing)], [], [], processor)["pixel_values"]
        decoded = plugin._get_mm_inputs([drawn], [], [], processor)["pixel_values"]
        without = plugin._get_mm_inputs([image], [], [], processor)["pixel_values"]
        assert all(torch.equal(one, other) for one, other in zip(named, decoded, strict=True))
        assert not all(torch.equal(one, other) for one, other in zip(named, without, strict=True))


def test_boxes_of_a_photo_are_those_of_its_upright_view(tmp_path: Path) -> None:
    """Stored lying, 200 x 100, EXIF orientation 6: it is looked at as 100 x 200, and fed so."""
    image, exif = Image.new("RGB", (200, 100)), Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    path, processor = str(tmp_path / "a.jpg"), processor_of(FAMILIES[2])
    plugin = TEMPLATES["qwen3_vl_region"].mm_plugin
    assert plugin.write_boxes("<box:50,100,100,200>", [path], processor) == '{"bbox_2d": [500, 500, 1000, 1000]}'
    drawing = {"marks": "boxes", "boxes": [[50, 100, 100, 200]], "numbers": [0]}
    assert draw_if_asked(with_drawing(path, drawing)).size == (100, 200)
    assert draw_if_asked(with_drawing(path, {**drawing, "boxes": [[100, 50, 200, 100]]}), as_host=True).size == (
        200,
        100,
    )
    assert (picture_size(path), picture_size(path, as_host=True)) == ((100, 200), (200, 100))


def test_boxes_belong_to_their_image(tmp_path: Path) -> None:
    paths = [picture_with_a_box(tmp_path / f"{side}.png", (side, side))[0] for side in (100, 200)]
    plugin, processor = TEMPLATES["qwen3_vl_region"].mm_plugin, processor_of(FAMILIES[2])
    texts = plugin.write_boxes(["<box:0:50,50,100,100>", {"a": "<box:1:50,50,100,100>"}, 3], paths, processor)
    assert texts == ['{"bbox_2d": [500, 500, 1000, 1000]}', {"a": '{"bbox_2d": [250, 250, 500, 500]}'}, 3]


@pytest.mark.parametrize(
    ("template", "text", "said"),
    [
        ("qwen3_vl", "<box:1:1,2,3,4>", "got image 1, expected one of the prompt's 1 image"),
        ("qwen3_vl", "<box:1,2,3>", "got '<box:1,2,3>', expected <box:64,48,320,240>"),
        ("qwen3_vl", "<box:0:1,2,300,4>", "box: got (1.0, 2.0, 300.0, 4.0)"),
        ("gemma3", "<box:0:1,2,3,4>", "no form of boxes is published for this family"),
        ("llava", "<box:0:1,2,3,4>", "got a processor that crops the picture, expected one that pads"),
        ("qwen2_vl", "<box:0:1,2,3,4>", "got a SimpleNamespace, expected one of Qwen2VLProcessor"),
    ],
)
def test_what_cannot_be_written_is_said(template: str, text: str, said: str, tmp_path: Path) -> None:
    image, _ = picture_with_a_box(tmp_path / "a.png", (84, 84))
    processor = SimpleNamespace(image_processor=SimpleNamespace(do_pad=False))
    with pytest.raises(ValueError, match="expected") as error:
        TEMPLATES[f"{template}_region"].mm_plugin.write_boxes(text, [image], processor)
    assert said in str(error.value)


def test_every_template_with_pictures_has_its_twin() -> None:
    """Twins equal the host's templates in everything but the plugin, and the host's own are as they were."""
    for name, template in list(TEMPLATES.items()):
        if name.endswith("_region") or template.mm_plugin.image_token is None:
            continue
        twin = TEMPLATES[f"{name}_region"]
        assert type(twin) is type(template)
        assert twin.mm_plugin.template_name == name
        assert isinstance(twin.mm_plugin, type(template.mm_plugin))
        assert not hasattr(template.mm_plugin, "read_boxes")
        assert vars(twin) | {"mm_plugin": None} == vars(template) | {"mm_plugin": None}
    assert BY_TEMPLATE.keys() <= TEMPLATES.keys()
    assert {convention_of(family.template, processor_of(family)) for family in FAMILIES} == set(map(name_of, FAMILIES))


def test_plugins_travel_to_other_processes() -> None:
    template = TEMPLATES["qwen2_vl_region"]
    copied = pickle.loads(pickle.dumps(template))
    assert type(copied.mm_plugin) is type(template.mm_plugin)
    assert copied.mm_plugin.template_name == "qwen2_vl"
