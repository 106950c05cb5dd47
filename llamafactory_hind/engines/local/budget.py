"""A budget of tokens for writing: which completions are written at once, so that their caches fit.

A token in flight is a token whose keys and values are held: those of each prompt, once for its group or once a completion, and
`max_new_tokens` of each completion.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch


SHARE = 0.6  # [ours] of the free memory that caches may take; the prefill and the logits have the rest


@dataclass(frozen=True)
class Piece:
    """Completions that are written at once.

    Attributes:
        places: of their prompts.
        numbers: which completions of each prompt.
    """

    places: tuple[int, ...]
    numbers: range

    def halves(self) -> list["Piece"]:
        """Return two pieces that make up this one, by prompts or else by completions; itself where it is one completion."""
        half = len(self.places) // 2
        if half:
            return [Piece(self.places[:half], self.numbers), Piece(self.places[half:], self.numbers)]
        half = len(self.numbers) // 2
        if half:
            return [Piece(self.places, self.numbers[:half]), Piece(self.places, self.numbers[half:])]
        return [self]


@dataclass(frozen=True)
class Writing:
    """How much a completion takes.

    Attributes:
        lengths: tokens of each prompt.
        new_tokens: of a completion, at most.
        repeated: the cache of a prompt is held for every completion, not for its group.
    """

    lengths: Sequence[int]
    new_tokens: int
    repeated: bool

    def tokens(self, piece: Piece) -> int:
        """Return the tokens in flight; prompts are padded to the longest."""
        prompts, each = len(piece.places), len(piece.numbers)
        longest = max(self.lengths[place] for place in piece.places)
        return prompts * (longest * (each if self.repeated else 1) + each * self.new_tokens)

    def fitting(self, piece: Piece, budget: int | None) -> Iterator[Piece]:
        """Yield parts of a piece that are in the budget; one completion is written whatever it takes."""
        parts = [piece] if budget is None or self.tokens(piece) <= budget else piece.halves()
        if len(parts) == 1:
            yield parts[0]
            return
        for part in parts:
            yield from self.fitting(part, budget)


def before_writing(tokens: int) -> None:
    """Do nothing; called before each batch with its tokens in flight.

    A test that limits memory puts a function here that raises `torch.OutOfMemoryError`, as the device does when caches grow.

    Args:
        tokens: that the batch may come to hold.
    """


def affordable_tokens(model: torch.nn.Module) -> int | None:
    """Return how many tokens the free memory of a GPU holds; None on other devices, and where the size of a token is not known."""
    parameter = next(model.parameters())
    if parameter.device.type != "cuda":
        return None
    size = bytes_a_token(model, parameter.element_size())
    return None if size is None else int(SHARE * free_memory(parameter.device) / size)


def free_memory(device: torch.device) -> int:
    """Return the bytes of a GPU that are free, those that PyTorch has reserved and not used among them."""
    reserved = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0] + reserved)


def bytes_a_token(model: torch.nn.Module, size: int) -> int | None:
    """Return what the keys and values of a token take in all layers.

    Args:
        model: with the configuration of its text part.
        size: bytes of a number.
    """
    config = getattr(model, "config", None)
    text = config.get_text_config() if hasattr(config, "get_text_config") else config
    layers, heads = getattr(text, "num_hidden_layers", None), getattr(text, "num_attention_heads", None)
    if not layers or not heads:
        return None
    width = getattr(text, "head_dim", None) or text.hidden_size // heads
    return int(2 * layers * (getattr(text, "num_key_value_heads", None) or heads) * width * size)
