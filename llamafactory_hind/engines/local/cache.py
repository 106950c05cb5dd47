"""A key/value cache with room to grow: a step of writing copies its own token, not all that came before it."""

import copy
from collections.abc import Sequence

import torch
import torch.nn.functional as F
import transformers.cache_utils as cache_utils
from transformers import Cache


# transformers 4 before 4.54 has no layers in its caches; they grow by copying there, as the library does
LAYERS = hasattr(cache_utils, "DynamicLayer")

if LAYERS:

    class PreallocatedLayer(cache_utils.DynamicLayer):
        """A full-attention layer that holds `room` more tokens than it has.

        Args:
            layer: whose keys and values (B, heads, T, width) it takes over.
            room: tokens that may come.
        """

        def __init__(self, layer: "cache_utils.DynamicLayer", *, room: int) -> None:
            """Copy what there is."""
            super().__init__()
            self.dtype, self.device, self.is_initialized = layer.keys.dtype, layer.keys.device, True
            self.room = room
            self._take(layer.keys, layer.values)

        def _take(self, keys: torch.Tensor, values: torch.Tensor) -> None:
            length = keys.shape[2]
            self.all_keys = keys.new_empty(*keys.shape[:2], length + self.room, keys.shape[3])
            self.all_values = values.new_empty(*values.shape[:2], length + self.room, values.shape[3])
            self.all_keys[:, :, :length] = keys
            self.all_values[:, :, :length] = values
            self._show(length)

        def _show(self, length: int) -> None:
            self.keys, self.values = self.all_keys[:, :, :length], self.all_values[:, :, :length]

        def update(
            self, key_states: torch.Tensor, value_states: torch.Tensor, *args: object, **kwargs: object
        ) -> tuple[torch.Tensor, torch.Tensor]:
            """Write the new tokens (B, heads, S, width) behind the others and return all."""
            start = self.keys.shape[2]
            end = start + key_states.shape[2]
            self.all_keys[:, :, start:end] = key_states
            self.all_values[:, :, start:end] = value_states
            self.room -= end - start
            self._show(end)
            return self.keys, self.values

        def batch_select_indices(self, indices: torch.Tensor) -> None:
            """Keep some rows of the batch."""
            self._take(self.keys[indices], self.values[indices])


def preallocate(cache: Cache, *, room: int) -> None:
    """Give the full-attention layers of a cache room for `room` more tokens, in place; other caches stay as they are."""
    if LAYERS and all(type(layer) is cache_utils.DynamicLayer for layer in getattr(cache, "layers", ())):
        for number in range(len(cache.layers)):  # one by one: the layer that was is free before the next is made
            cache.layers[number] = PreallocatedLayer(cache.layers[number], room=room)


def join_padded(caches: Sequence[Cache], length: int) -> Cache:
    """Put the rows of caches of full-attention layers behind each other, in the first one; what is shorter is padded on the left.

    Args:
        caches: of (B, heads, T, width) each, with layers.
        length: of the longest.
    """
    first = caches[0]
    for number, layer in enumerate(first.layers):
        for name in ("keys", "values"):
            parts = [getattr(cache.layers[number], name) for cache in caches]
            setattr(layer, name, torch.cat([F.pad(part, (0, 0, length - part.shape[2], 0)) for part in parts]))
            for cache in caches[1:]:
                setattr(cache.layers[number], name, None)
    return first


def shallow_copy(cache: Cache) -> Cache:
    """Return a cache of its own that holds the same tensors: what is added to it or chosen from it leaves the first as it is."""
    copied = copy.copy(cache)
    for name, value in vars(cache).items():
        if isinstance(value, list):  # layers, or the keys and values of transformers 4
            setattr(copied, name, [copy.copy(each) if not isinstance(each, torch.Tensor) else each for each in value])
    return copied
