"""Attention to prompt and completion apart: by its twin, whatever the groups, and in a model's writing token by token."""

from pathlib import Path

import pytest
import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import DynamicCache

from llamafactory_hind.engines.interface import Sampling
from llamafactory_hind.engines.local.cascade import Cascade, can_cascade
from llamafactory_hind.engines.local.engine import LocalEngine
from shared.rollouts import KINDS, RolloutSetup


PROMPTS, REPEATS, KEYS, SHARE, SIZE, LENGTH = 3, 4, 2, 3, 8, 7


def prompt_cache() -> tuple[DynamicCache, torch.Tensor]:
    """A cache of three left-padded prompts in one layer, and their mask."""
    cache = DynamicCache()
    chance = torch.Generator().manual_seed(0)
    keys, values = (torch.randn(PROMPTS, KEYS, LENGTH, SIZE, generator=chance) for _ in range(2))
    cache.update(keys, values, 0)
    mask = torch.ones(PROMPTS, LENGTH, dtype=torch.long)
    mask[1, :3] = 0
    return cache, mask


def twin(
    cache: DynamicCache, mask: torch.Tensor, owners: list[int], own: list[torch.Tensor], query: torch.Tensor
) -> torch.Tensor:
    """Attend a row at a time over prompt and own tokens together, keys repeated for the heads that share them."""
    keys, values = own
    found = []
    for row, owner in enumerate(owners):
        there = mask[owner].bool()
        parts = [
            torch.cat([prompt[owner][:, there], mine[row]], 1)
            for prompt, mine in zip(cache, (keys, values), strict=True)
        ]
        key, value = (part.repeat_interleave(SHARE, 0)[None] for part in parts)
        found.append(scaled_dot_product_attention(query[row : row + 1], key, value, scale=0.3)[0].transpose(0, 1))
    return torch.stack(found)


def test_it_is_attention_to_all_tokens_at_once() -> None:
    """Four rows a prompt, then groups of two, none and three, as when completions end; padding on the left is not seen."""
    cache, mask = prompt_cache()
    prompts = (cache.layers[0].keys, cache.layers[0].values)
    behind = Cascade(cache, mask, repeats=REPEATS, room=4)
    layer = behind.cache.layers[0]
    owners = [row // REPEATS for row in range(PROMPTS * REPEATS)]
    chance = torch.Generator().manual_seed(1)
    alive = list(range(PROMPTS * REPEATS))
    for step, kept in enumerate([alive, alive, [1, 2, 8, 9, 11], [2, 11]]):
        if kept != alive:
            behind.batch_select_indices(torch.tensor([alive.index(row) for row in kept]))
            alive = kept
        count = len(alive)
        layer.update(*(torch.randn(count, KEYS, 1, SIZE, generator=chance) for _ in range(2)))
        query = torch.randn(count, KEYS * SHARE, 1, SIZE, generator=chance)
        found = behind.attend(0, query, 0.3)
        assert layer.get_seq_length() == LENGTH + step + 1
        expected = twin(prompts, mask, [owners[row] for row in alive], [layer.keys, layer.values], query)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert len(layer.prompt_keys) == 2  # the prompt whose rows have all ended is gone


def test_scores_of_any_size_stay_numbers() -> None:
    cache, mask = prompt_cache()
    behind = Cascade(cache, mask, repeats=1, room=1)
    layer = behind.cache.layers[0]
    layer.update(*(torch.full((PROMPTS, KEYS, 1, SIZE), 40.0) for _ in range(2)))
    for sign in (1, -1):
        found = behind.attend(0, torch.full((PROMPTS, KEYS * SHARE, 1, SIZE), sign * 100.0), 1.0)
        assert torch.isfinite(found).all()


def test_caches_of_other_kinds_are_left_alone() -> None:
    cache, _ = prompt_cache()
    assert can_cascade(cache)
    assert not can_cascade(DynamicCache())
    cache.layers.append(object())
    assert not can_cascade(cache)


@pytest.mark.slow
def test_a_model_writes_what_it_writes_behind_a_repeated_cache(small_world: Path) -> None:
    """Prompts of every kind of media, some completions ending early; log-probs to rounding; attention is put back."""
    setup = RolloutSetup(small_world)
    text = setup.model.config.get_text_config()
    before = text._attn_implementation
    written = {}
    for cascade in (True, False):
        engine = LocalEngine(setup.loaded, batch_size=100, adapters=None)
        engine.writer.cascade = cascade
        engine.stop_ids = list(range(20, 60))  # about a tenth of the words end a completion
        prompts = setup.batch(KINDS).prompts
        sampling = Sampling(n=6, temperature=1.0, top_p=1.0, top_k=0, max_new_tokens=12, seed=3)
        written[cascade] = engine.generate_prompts(prompts, [str(number) for number in range(len(prompts))], sampling)
        assert engine.writer.cascade is cascade
        assert not engine.writer.proof.failed
        assert text._attn_implementation == before
    lengths, same = set(), []
    for ours, others in zip(written[True], written[False], strict=True):
        for one, other in zip(ours, others, strict=True):
            same.append(one.token_ids == other.token_ids)
            if same[-1]:
                assert one.logprob == pytest.approx(other.logprob, abs=1e-4)
            lengths.add(len(one.token_ids))
    assert sum(same) >= 0.9 * len(same)  # rounding decides a close draw now and then
    assert len(lengths) > 3
