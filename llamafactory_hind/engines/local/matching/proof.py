"""Whether several texts may share one computed picture: asked of the model, then proved on real rows."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..attention import why_not_packed
from ..proof import Difference, why_not_equal
from ..scoring import computes_in_half, otherwise, output_head
from .chat import ChatBody


if TYPE_CHECKING:
    from .model import Matcher


@torch.no_grad()
def why_not_shared(
    matcher: "Matcher", memory: Any, images: Sequence[int], texts: Sequence[torch.Tensor]
) -> str | None:
    """Return why pairs have to be read one by one, None where a picture may be computed once for all its texts.

    What is compared is the log-prob that the output head gives, behind each text, to the token it finds likeliest.

    Args:
        matcher: its model is in eval mode.
        memory: of a batch, see `bodies.Body.remember`.
        images: number of the picture of each pair; some have several texts.
        texts: their ids.
    """
    body, model = matcher.reader, matcher.body
    if not isinstance(body, ChatBody):
        return None  # a Q-Former keeps what the tower made of a picture
    reason = why_not_packed(model)
    if reason is not None:
        return reason

    def states(*, packed: bool) -> torch.Tensor:
        body.packed = packed
        return body.match(model, matcher.heads, memory, images, texts)

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
