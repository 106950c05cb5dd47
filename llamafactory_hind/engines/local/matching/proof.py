"""Whether several texts may share one computed picture: asked of the model, then proved on real rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from ..attention import why_not_packed
from ..proof import Difference, why_not_equal
from ..scoring import computes_in_half, otherwise, output_head
from .chat import ChatBody, Memory


if TYPE_CHECKING:
    from .model import Matcher


@torch.no_grad()
def why_not_shared(matcher: "Matcher", inputs: Mapping[str, Any], texts: Mapping[str, torch.Tensor]) -> str | None:
    """Return why pairs have to be read one by one, None where a picture may be computed once for all its texts.

    Each picture is read with its own text and with that of the next row; what is compared is the log-prob that the output head
    gives, behind each text, to the token it finds likeliest.

    Args:
        matcher: its model is in eval mode.
        inputs: of a batch as the host's collator makes them.
        texts: `bodies.TEXT_KEYS` of the batch.
    """
    body, model = matcher.reader, matcher.body
    if not isinstance(body, ChatBody):
        return None  # a Q-Former keeps what the tower made of a picture
    reason = why_not_packed(model)
    if reason is not None:
        return reason
    tails = [row[: int(length)] for row, length in zip(texts["tail_ids"], texts["tail_mask"].sum(1), strict=True)]
    memory = Memory(
        {name: some for name, some in inputs.items() if name != "labels"}, texts["media_ends"].tolist(), tails
    )
    images = [place for place in range(len(tails)) for _ in range(2)]
    chosen = [tails[(place + step) % len(tails)] for place in range(len(tails)) for step in range(2)]

    def states(*, packed: bool) -> torch.Tensor:
        body.packed = packed
        return body.match(model, matcher.heads, memory, images, chosen)

    def logps(found: torch.Tensor) -> torch.Tensor:
        return output_head(model)(found[:, None])[:, 0].float().log_softmax(-1)  # (K, V)

    before = body.packed
    try:
        plain = logps(states(packed=False))
        likeliest = plain.argmax(-1, keepdim=True)
        with otherwise(model):
            other = logps(states(packed=False))
        noise = Difference.of(other.gather(1, likeliest), plain.gather(1, likeliest))
        return why_not_equal(
            lambda: logps(states(packed=True)).gather(1, likeliest),
            plain.gather(1, likeliest),
            noise,
            half=computes_in_half(model),
        )
    finally:
        body.packed = before
