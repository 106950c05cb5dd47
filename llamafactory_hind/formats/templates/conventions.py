"""Which convention of `regions` a template of the host goes with. Sources are those of `docs/regions.md`."""

from typing import Any


SUFFIX = "_region"
# Template -> convention. Those not named here have none that is published: their regions are drawn, cut out or named.
BY_TEMPLATE = {
    **dict.fromkeys(("qwen3_vl", "qwen3_vl_nothink", "qwen3_5", "qwen3_5_nothink", "qwen3_6"), "qwen3_vl"),
    **dict.fromkeys(("glm4v", "glm4_5v"), "glm4v"),
    **dict.fromkeys(("paligemma", "paligemma_chat"), "paligemma"),
    "intern_vl": "internvl",
    "llava": "llava",
    "minicpm_v": "minicpm_v",
}
# Template -> class of the processor -> convention: one template serves two families.
BY_PROCESSOR = {"qwen2_vl": {"Qwen2VLProcessor": "qwen2_vl", "Qwen2_5_VLProcessor": "qwen2_5_vl"}}


def convention_of(template: str, processor: Any) -> str:
    """Return the convention of a model.

    Args:
        template: name without `_region`.
        processor: of the model.

    Raises:
        ValueError: none is published, or the processor is of no known family or does not pad.
    """
    found = BY_TEMPLATE.get(template)
    if template in BY_PROCESSOR:
        known = BY_PROCESSOR[template]
        found = known.get(type(processor).__name__)
        if found is None:
            raise ValueError(
                f"template {template}{SUFFIX}: got a {type(processor).__name__}, expected one of {', '.join(known)}. "
                "Show regions with `region_style: marks`, `crop` or `name`."
            )
    if found is None:
        raise ValueError(
            f"template {template}{SUFFIX}: got a box, expected none: no form of boxes is published for this family. "
            "Show regions with `region_style: marks`, `crop` or `name`."
        )
    if found == "llava" and not getattr(getattr(processor, "image_processor", None), "do_pad", False):
        raise ValueError(
            f"template {template}{SUFFIX}: got a processor that crops the picture, expected one that pads it to a square: "
            "LLaVA's boxes refer to that. Set `do_pad: true` and `do_center_crop: false` in its preprocessor_config.json, "
            "or show regions with `region_style: marks`."
        )
    return found
