"""The texts of rows apart from their media: what is compared with a picture, and what stands behind it."""

from collections.abc import Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from ....formats.processors.media_tokens import media_token_ids


AROUND = ("vision_bos_token", "vision_eos_token", "audio_bos_token", "audio_eos_token")


class TextSplitter:
    """Knows a template's signs for media.

    Args:
        template: the host's.
        tokenizer: of the model.
    """

    def __init__(self, template: Any, tokenizer: Any) -> None:
        """Look the signs up."""
        self.media = media_token_ids(template, tokenizer)
        tokens = [getattr(template.mm_plugin, name, None) for name in AROUND]
        known = {tokenizer.convert_tokens_to_ids(token) for token in tokens if token}
        self.signs = self.media | (known - {tokenizer.unk_token_id, None})

    def text(self, row: Sequence[int]) -> list[int]:
        """Return a row without its media."""
        return [token for token in row if token not in self.signs]

    def end(self, row: Sequence[int]) -> int:
        """Return the place of the last media token of a row.

        Raises:
            ValueError: there is none, or nothing behind it.
        """
        places = [place for place, token in enumerate(row) if token in self.media]
        if not places or places[-1] + 1 == len(row):
            got = "nothing behind them" if places else "none"
            raise ValueError(f"lskd: got a row with media tokens {sorted(self.media)}: {got}. Raise `cutoff_len`.")
        return places[-1]

    def tail(self, row: Sequence[int]) -> list[int]:
        """Return what stands behind the media of a row; errors as in `end`."""
        return list(row[self.end(row) + 1 :])

    def keys(self, rows: Sequence[Sequence[int]], mask: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the texts of a batch and where their media end, see `bodies.TEXT_KEYS`; the pictures are the caller's.

        Args:
            rows: ids without padding.
            mask: (N, T) of the batch, padded on either side.
        """
        found = {"media_ends": torch.tensor([self.end(row) for row in rows]) + mask.bool().int().argmax(1)}
        for name, own in (("text", map(self.text, rows)), ("tail", map(self.tail, rows))):
            found[f"{name}_ids"], found[f"{name}_mask"] = padded(list(own))
        return found


def padded(rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return ids (N, S) padded on the right, and their mask."""
    ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    lengths = torch.tensor([len(row) for row in rows])
    return ids, (torch.arange(ids.shape[1]) < lengths[:, None]).long()


def unpadded(ids: torch.Tensor, mask: torch.Tensor) -> list[torch.Tensor]:
    """Return the ids of each row of `padded`."""
    return [row[: int(length)] for row, length in zip(ids, mask.sum(1), strict=True)]
