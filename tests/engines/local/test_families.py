"""Every family of models: a shared prompt gives the log-probs and gradients of rows with their own, or is refused in time."""

import pytest
import torch

from llamafactory_hind.engines.local.attention import AttentionKind, attention_kinds, media_ids, takes_additive_mask
from llamafactory_hind.engines.local.packing import pack, packed_attention_mask
from llamafactory_hind.engines.local.proof import PASSING_ERRORS
from llamafactory_hind.trainers.pairs.trainer import pair_logps
from shared.families.outcomes import WAYS, Ways, outcomes, packed_error
from shared.families.page import FAMILIES, PAGE, TOLERANCE, page
from shared.families.record import WINDOW, Family
from shared.families.rows import COMPLETIONS, PROMPTS


pytestmark = pytest.mark.slow  # about half a minute in all; `outcomes` are remembered
REFUSED = {
    "Qwen3.5",
    "Qwen3-Next",
    "Llama 4, text, tuned temperature",
    "Falcon, ALiBi",
    "BLOOM",
    "MPT",
    "GPT-Neo",
    "Mamba 2",
}
MODELLED = {  # their masks are more than causal
    "Qwen2-VL, sliding",
    "Gemma 3, full layers alone",
    "Gemma 3",
    "PaliGemma",
    "PaliGemma 2",
    "Qwen2, sliding",
    "Cohere 2",
    "Gemma 2",
    "Gemma 3, text",
    "gpt-oss",
    "Llama 4, text",
    "Mistral",
    "Phi-3",
    "Starcoder2",
    "Mixtral",
    "OLMo 3",
    "SmolLM3",
}


def named(names: set[str]) -> list[Family]:
    return [family for family in FAMILIES if family.name in names]


def name_of(family: Family) -> str:
    return family.name


def test_the_texts_pass_every_window() -> None:
    """All texts but one are longer than a window and end beyond the first chunk; some completions are longer alone."""
    assert sum(PROMPTS[row // 3][0] + length > WINDOW for row, length in enumerate(COMPLETIONS)) >= 8
    assert sum(length > WINDOW for length in COMPLETIONS) >= 3


@pytest.mark.parametrize("family", FAMILIES, ids=name_of)
def test_a_shared_prompt_changes_nothing(family: Family) -> None:
    for way in WAYS:
        outcome = outcomes(family)[way]
        if outcome.reason is None:
            assert outcome.error < TOLERANCE, way
            assert (outcome.gradient or 0.0) < TOLERANCE, way
    assert (outcomes(family)["packed"].reason is None) == (family.name not in REFUSED)


def test_the_lists_of_this_file_are_what_the_configs_say() -> None:
    found = set()
    for family in FAMILIES:
        model = Ways(family).model
        limited = any(kind != AttentionKind() for kind in attention_kinds(model).values())
        if (limited or media_ids(model) is not None) and family.name not in REFUSED:
            found.add(family.name)
    assert found == MODELLED
    assert len(named(REFUSED)) == len(REFUSED)


@pytest.mark.parametrize("family", named(MODELLED), ids=name_of)
def test_a_causal_mask_alone_would_show(family: Family, monkeypatch: pytest.MonkeyPatch) -> None:
    def causal(model: torch.nn.Module, inputs: dict, segments: torch.Tensor) -> torch.Tensor:
        dtype = torch.float32 if takes_additive_mask(model) else None
        return packed_attention_mask(segments, dtype=dtype)

    monkeypatch.setattr("llamafactory_hind.trainers.rollouts.layouts.packed_masks", causal)
    assert packed_error(Ways(family)) > 100 * TOLERANCE


@pytest.mark.parametrize("family", named(REFUSED), ids=name_of)
def test_what_is_refused_would_be_wrong_or_fail(family: Family) -> None:
    try:
        error = packed_error(Ways(family))
    except PASSING_ERRORS:
        return
    assert error > 100 * TOLERANCE


@pytest.mark.parametrize("family", named(MODELLED | {"Qwen2-VL", "Llama"}), ids=name_of)
@torch.no_grad()
def test_pairs_share_their_prompt_too(family: Family) -> None:
    ways = Ways(family)
    some = ways.batch.first(prompts=3, completions=2)
    row = pack(ways.prompts(some.prompts), some.tokens, some.mask, some.owners.tolist())
    batch = {**row.inputs, "labels": row.labels, "segments": row.segments, "sources": row.sources}
    found = pair_logps(ways.model, batch)
    expected = ways.plain(some.tokens, some.mask, some.owners).sum(-1)
    torch.testing.assert_close(found.chosen, expected[0::2], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(found.rejected, expected[1::2], atol=1e-4, rtol=1e-5)


def test_the_page_is_what_the_code_gives() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: make models"
