"""`engines.local.towers`: pictures are remembered one by one where a tower lets them be, proved on the way; towers are found by path."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.qwen2_5_vl.configuration_qwen2_5_vl import Qwen2_5_VLVisionConfig
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VisionTransformerPretrainedModel

from llamafactory_hind.engines.local import towers
from llamafactory_hind.engines.local.pictures import Inseparable, cut, joined, pictures_of
from llamafactory_hind.engines.local.towers import TowerCache, frozen_towers


GRIDS = torch.tensor([[1, 4, 4], [1, 2, 6], [2, 4, 2], [1, 4, 4]])


def qwen_tower() -> nn.Module:
    torch.manual_seed(0)
    config = Qwen2_5_VLVisionConfig(
        depth=2, hidden_size=16, intermediate_size=32, num_heads=2, out_hidden_size=24, patch_size=2,
        fullatt_block_indexes=[1], window_size=8,
    )  # fmt: skip
    return Qwen2_5_VisionTransformerPretrainedModel(config).eval()


def qwen_call(tower: nn.Module, numbers: list[int]) -> dict[str, torch.Tensor]:
    """The arguments for some of four pictures of three sizes; the tokens of picture n come from seed n."""
    width = 3 * 2 * 2 * 2  # channels, frames, height and width of a patch
    patches = [torch.randn(int(GRIDS[n].prod()), width, generator=torch.Generator().manual_seed(n)) for n in numbers]
    return {"hidden_states": torch.cat(patches), "grid_thw": GRIDS[numbers]}


def clip_tower() -> nn.Module:
    torch.manual_seed(0)
    config = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=8, patch_size=4
    )
    return CLIPVisionModel(config).eval()


def clip_call(tower: nn.Module, numbers: list[int]) -> dict[str, Any]:
    pictures = [torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(n)) for n in numbers]
    return {"pixel_values": torch.cat(pictures), "output_hidden_states": True}


class Mixing(nn.Module):
    """A tower whose pictures see each other, as if it had one attention over the whole batch."""

    config = SimpleNamespace(model_type="none")

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        return pixel_values + pixel_values.mean(0)


def mixing_call(tower: nn.Module, numbers: list[int]) -> dict[str, torch.Tensor]:
    return {"pixel_values": torch.stack([torch.full((2,), float(n)) for n in numbers])}


def watched(tower: nn.Module) -> tuple[TowerCache, list[int]]:
    """A cache over one tower, and the number of pictures of each of its own passes."""
    memo, passes = TowerCache(), []
    memo.towers = [tower]
    own = tower.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        given = {**kwargs, "first": args[0] if args else None}
        passes.append(len(next(kwargs.get(name) for name in ("grid_thw", "pixel_values") if name in kwargs)))
        assert given["first"] is None
        return own(**kwargs)

    forward.__wrapped__ = own  # keeps the signature
    tower.forward = forward
    return memo, passes


def values(result: Any) -> list[torch.Tensor]:
    if isinstance(result, torch.Tensor):
        return [result]
    return [one for part in (result.to_tuple() if hasattr(result, "to_tuple") else result) for one in values(part)]


@pytest.mark.parametrize(("make", "call"), [(qwen_tower, qwen_call), (clip_tower, clip_call)])
def test_pictures_are_computed_once_whatever_the_batches(make: Callable, call: Callable) -> None:
    """Together, apart, in another order, twice in a row, beside a new one: all equal to the plain pass."""
    expected_tower, tower = make(), make()
    memo, passes = watched(tower)
    batches = [[0, 1, 2], [0], [1], [2, 0], [1, 1, 2], [3, 0, 3], [3]]
    with memo.active(), torch.no_grad():
        for numbers in batches:
            found = values(tower(**call(tower, numbers)))
            for one, other in zip(found, values(expected_tower(**call(tower, numbers))), strict=True):
                torch.testing.assert_close(one, other, atol=2e-6, rtol=1e-5)
    # all three; picture 0 alone, which proves it; picture 3, once although it stands there twice
    assert passes == [3, 1, 1]
    assert list(memo._separable.values()) == [True]
    memo.clear()
    with memo.active(), torch.no_grad():
        tower(**call(tower, [0, 1]))
        tower(**call(tower, [1]))
    assert passes == [3, 1, 1, 2]  # the proof holds on


def test_a_tower_whose_pictures_see_each_other_is_never_put_together() -> None:
    tower = Mixing()
    memo, passes = watched(tower)
    with memo.active():
        for numbers in ([1, 2], [1], [2], [1, 2], [1]):
            expected = Mixing()(**mixing_call(tower, numbers))
            assert torch.equal(tower(**mixing_call(tower, numbers)), expected)
    assert passes == [2, 1, 1]  # whole calls are remembered all the same
    assert list(memo._separable.values()) == [False]


def test_equal_pictures_prove_nothing() -> None:
    """Two copies of one picture that see each other look as one alone does: the proof waits for another neighbour."""
    tower = Mixing()
    memo, passes = watched(tower)
    with memo.active():
        for numbers in ([1, 1], [1], [1, 2], [2]):
            assert torch.equal(tower(**mixing_call(tower, numbers)), Mixing()(**mixing_call(tower, numbers)))
            assert not any(memo._separable.values())
    assert passes == [2, 1, 2, 1]
    assert list(memo._separable.values()) == [False]


def test_pictures_of_equal_sums_are_told_apart() -> None:
    """The cheap comparison of two pictures with the same bytes in another order says equal; the tensors decide."""
    tower = clip_tower()
    memo, _ = watched(tower)
    one = clip_call(tower, [1])["pixel_values"]
    turned = one.flip(-1)
    with memo.active(), torch.no_grad():
        for batch in (clip_call(tower, [1, 2])["pixel_values"], one, turned, torch.cat([turned, one])):
            found = tower(pixel_values=batch).last_hidden_state
            torch.testing.assert_close(found, clip_tower()(pixel_values=batch).last_hidden_state, atol=2e-6, rtol=1e-5)


def test_cut_by_hand() -> None:
    """Patches 4 and 8 merged by four: 1 and 2 rows of three; a list goes part by part."""
    rows, patches = torch.arange(3.0)[:, None], torch.arange(12.0)[:, None]
    result = BaseModelOutputWithPooling(last_hidden_state=patches, pooler_output=rows, hidden_states=(patches,))
    first, second = cut(result, [4, 8])
    assert first.pooler_output.flatten().tolist() == [0.0]
    assert second.pooler_output.flatten().tolist() == [1.0, 2.0]
    assert second.hidden_states[0].flatten().tolist() == [*range(4, 12)]
    again = joined([first, second])
    assert torch.equal(again.last_hidden_state, patches)
    with pytest.raises(Inseparable, match="5 rows"):
        cut(torch.zeros(5, 2), [4, 8])
    with pytest.raises(Inseparable, match="float"):
        cut([1.0], [1, 1])


def test_calls_of_another_form_are_left_whole() -> None:
    def forward(pixel_values: Any, sizes: Any = None) -> None: ...

    picture = torch.zeros(2, 3)
    assert pictures_of(forward, (picture,), {"sizes": torch.zeros(2, 2)}).counts == [1, 1]
    for kwargs in ({"sizes": [1, 2]}, {"sizes": torch.tensor(1)}, {"sizes": torch.zeros(3, 2)}):
        with pytest.raises(Inseparable):
            pictures_of(forward, (picture,), kwargs)
    with pytest.raises(Inseparable):
        pictures_of(forward, (None,), {})


def module(**children: nn.Module) -> nn.Module:
    made = nn.Module()
    for name, child in children.items():
        made.add_module(name, child)
    return made


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["visual.patch_embed", "visual.blocks"], ["model.visual"]),  # the projector is frozen with its tower
        (["model.vision_tower"], ["model.vision_tower"]),
        (["vision_tower", "audio_tower"], ["model.vision_tower", "model.audio_tower"]),
        (["absent"], []),
        (["model"], []),  # holds the embeddings of words
    ],
)
def test_the_tower_is_found_by_its_path(keys: list[str], expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """MiniCPM-V 4.6 names `model.vision_tower`: the first part of it is the whole model, words and all."""
    model = module(
        model=module(
            visual=module(
                patch_embed=nn.Linear(2, 2), blocks=nn.ModuleList([nn.Linear(2, 2)]), merger=nn.Linear(2, 2)
            ),
            vision_tower=module(layer=nn.Linear(2, 2)),
            audio_tower=module(layer=nn.Linear(2, 2)),
            language_model=module(embed_tokens=nn.Embedding(3, 2)),
        ),
        lm_head=nn.Linear(2, 3),
    ).requires_grad_(False)
    model.config = SimpleNamespace(model_type="made")
    model.get_input_embeddings = lambda: model.model.language_model.embed_tokens
    monkeypatch.setitem(towers.COMPOSITE_MODELS, "made", SimpleNamespace(vision_model_keys=keys))
    assert frozen_towers(model) == [model.get_submodule(name) for name in expected]
    model.model.visual.merger.requires_grad_(True)
    assert model.model.visual not in frozen_towers(model)
