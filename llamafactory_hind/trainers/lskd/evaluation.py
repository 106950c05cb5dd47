"""The numbers of an evaluation over a whole set: recall of the contrast, its loss, accuracy of the match, loss of the targets."""

from dataclasses import dataclass, field

import torch

from ...losses.contrastive import itc_loss, itc_targets, similarities


CHUNK = 512  # [ours] rows whose similarities exist at one time


@dataclass
class Evaluated:
    """What the batches of an evaluation leave: features, pictures, sums and counts."""

    image: list[torch.Tensor] = field(default_factory=list)
    text: list[torch.Tensor] = field(default_factory=list)
    pictures: list[torch.Tensor] = field(default_factory=list)
    lm: list[torch.Tensor] = field(default_factory=list)
    itm: list[torch.Tensor] = field(default_factory=list)

    def numbers(self, *, temperature: float, smoothing: float) -> dict[str, float]:
        """Return the numbers by name; what was not computed is left out.

        Args:
            temperature: of the contrast.
            smoothing: of its labels.
        """
        found = {}
        if self.lm:
            sums, counts = torch.cat(self.lm).double().sum(0)
            found["loss/lm"] = (sums / counts.clamp(min=1)).item()
        if self.image:
            image, text, pictures = (torch.cat(some) for some in (self.image, self.text, self.pictures))
            found |= contrast(image, text, pictures, temperature=temperature, smoothing=smoothing)
        if self.itm:
            loss, rows, right, pairs = torch.cat(self.itm).double().sum(0)
            found |= {"loss/itm": (loss / rows).item(), "itm_accuracy": (right / pairs).item()}
        return found


def contrast(
    image: torch.Tensor, text: torch.Tensor, pictures: torch.Tensor, *, temperature: float, smoothing: float
) -> dict[str, float]:
    """Return the contrastive loss over a whole set, and how often the nearest one is right, both ways.

    Args:
        image: (N, Q, D) or (N, D) features.
        text: (N, D).
        pictures: (N,) numbers; rows of one picture are right for each other.
        temperature: of the softmax.
        smoothing: of the labels.
    """
    sums = torch.zeros(3, dtype=torch.float64)
    for start in range(0, len(text), CHUNK):
        own = slice(start, start + CHUNK)
        i2t, t2i = similarities(image[own], text), similarities(image, text[own]).T  # (n, N)
        same = pictures[own, None] == pictures
        targets = itc_targets(*same.shape, offset=start, smoothing=smoothing, positive=same)
        loss = itc_loss(i2t, t2i, targets, temperature=temperature).double().sum()
        hits = [same.gather(1, some.argmax(1, keepdim=True)).sum() for some in (i2t, t2i)]
        sums += torch.stack([loss.cpu(), *(hit.double().cpu() for hit in hits)])
    loss, to_text, to_image = (sums / len(text)).tolist()
    return {"loss/itc": loss, "itc_recall_at_1": (to_text + to_image) / 2,
            "itc_image_to_text": to_text, "itc_text_to_image": to_image}  # fmt: skip
