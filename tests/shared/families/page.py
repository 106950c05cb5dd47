"""`docs/models.md`: the table of families and ways, as the code gives it. `make models` writes it anew."""

from pathlib import Path

from .outcomes import WAYS, Outcome, outcomes
from .pictures import PICTURES
from .record import Family
from .texts import TEXTS


PAGE = Path(__file__).resolve().parents[3] / "docs" / "models.md"
FAMILIES = [*PICTURES, *TEXTS]
TOLERANCE = 1e-4  # of a token's log-prob in float32, as at the start of a run
HEAD = """\
# Models that share a prompt

Several answers to one prompt need its pictures and its tokens once. Three ways do that:

| way | where | when |
|---|---|---|
| cached | loss pass of the online stages | the prompt's cache, with gradient, is repeated for its completions; without gradient checkpointing |
| packed | loss pass of the online stages, pairs of `kepo`, rows of `reason_sft`, teachers | `prompt, answer, answer, …` in one row with a mask; with gradient checkpointing too |
| written | writing of rollouts and of `synth` | the prompt is computed once, its cache kept once or repeated; otherwise the library's `generate` |

In a packed row each kind of layer gets the mask it would have in a row of its own. Windows and chunks count the tokens of
the text, not places of the row: eight answers of 512 tokens behind one prompt stay within a window of 2,047. Pictures
that see themselves whole (Gemma 3, PaliGemma) still do. Sinks, soft-caps and multipliers are the model's own.

What cannot be modelled is refused from the config, before any data is read, with the reason below. Every answer then
gets a row with its own prompt ("plain"): the result is the same, the cost is not. `share_prefix: on` makes that an error.
Windows need transformers 4.53, bidirectional pictures transformers 5; `flash_attn: fa2` takes no such mask (use `sdpa`).

## Families

Each row was tried with a tiny model from its config (random weights; three prompts of different lengths, with no, one and
two pictures; nine answers; windows and chunks of 12 tokens, all exceeded): log-probs equal those of rows with their own
prompt to 1e-4 in float32, gradients to 1e-4 of their norm. The same test fails with a mask that is only causal.

`make models` writes this page anew; a test compares it with the code.

"""
TAIL = """
A family that is not listed is judged by the same rules, and every run proves its way on its own first rows.
"""


def page() -> str:
    """Return the whole page."""
    lines = ["| family | `model_type` | attention | cached | packed | written |", "|---|---|---|---|---|---|"]
    return HEAD + "\n".join([*lines, *map(_row, FAMILIES)]) + "\n" + TAIL


def _row(family: Family) -> str:
    statuses = [_status(outcomes(family)[way], way) for way in WAYS]
    return f"| {family.name} | `{family.model_type}` | {family.features or 'causal'} | {' | '.join(statuses)} |"


def _status(outcome: Outcome, way: str) -> str:
    """Return what users read of an outcome; a way that gives wrong numbers has no status."""
    if outcome.reason is not None:
        return f"{'`generate`' if way == 'written' else 'plain'}: {outcome.reason}"
    if outcome.error is None or outcome.error > TOLERANCE:
        raise AssertionError(f"{way}: log-probs are off by {outcome.error}")
    return "shared"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
