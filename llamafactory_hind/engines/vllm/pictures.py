"""Prompts as a vLLM server takes them: one pad a picture, and the picture in the size that the trainer sees it in."""

import base64
import io
from collections import OrderedDict
from typing import TYPE_CHECKING, Any

from PIL import Image

from ...storage.digests import medium_name
from ..interface import Prompt
from .protocol import one_pad_each


if TYPE_CHECKING:
    from ..local.weights import LoadedModel

CACHE_CHARACTERS = 128 << 20  # [ours] some hundred pictures of a megapixel
MAX_PIXELS, MIN_PIXELS = 768 * 768, 32 * 32  # the host's, where a processor has none


class ServedPrompts:
    """Turns prompts into what a request holds of them; pictures are kept while there is room.

    Args:
        loaded: of the policy: the plugin of its template makes pictures regular.
    """

    def __init__(self, loaded: "LoadedModel") -> None:
        """Keep nothing yet."""
        self.plugin, self.processor = loaded.template.mm_plugin, loaded.processor
        token = getattr(self.plugin, "image_token", None)
        self.pads = set() if token is None else {loaded.tokenizer.convert_tokens_to_ids(token)}
        self._cache: OrderedDict[str, str] = OrderedDict()
        self._cached = 0

    def of(self, prompt: Prompt) -> tuple[list[int], list[dict[str, Any]]]:
        """Return the ids with one pad a picture, and the pictures.

        Raises:
            ValueError: the server cannot be shown this prompt as the trainer sees it.
        """
        request = prompt.request
        if request.videos or request.audios:
            raise ValueError(
                "rollout_engine: got a prompt with a video or an audio, expected pictures or text alone with `vllm`, which would "
                "sample frames by itself. Set `rollout_engine: hf`, or leave such rows out."
            )
        short, runs = one_pad_each(prompt.input_ids, self.pads)
        if runs != len(request.images):
            raise ValueError(
                f"rollout_engine: got a template that writes {runs} runs of picture tokens for {len(request.images)} pictures, "
                "expected one each with `vllm`, which expands one token a picture. Set `rollout_engine: hf`."
            )
        return short, [{"type": "image_url", "url": self._url(image)} for image in request.images]

    def _url(self, image: Any) -> str:
        name = str(medium_name(image, path=str))
        if name in self._cache:
            self._cache.move_to_end(name)
            return self._cache[name]
        url = self._encode(image)
        self._cache[name] = url
        self._cached += len(url)
        while self._cached > CACHE_CHARACTERS and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= len(dropped)
        return url

    def _encode(self, image: Any) -> str:
        """Return the picture that the trainer's processor is given, as a PNG, which changes no pixel."""
        limits = {
            "image_max_pixels": getattr(self.processor, "image_max_pixels", MAX_PIXELS),
            "image_min_pixels": getattr(self.processor, "image_min_pixels", MIN_PIXELS),
        }
        (regular,) = self.plugin._regularize_images([image], **limits)["images"]
        return png_url(regular)


def png_url(image: Image.Image) -> str:
    """Return a picture as a data URL, without loss."""
    out = io.BytesIO()
    image.save(out, "PNG", compress_level=1)
    return f"data:image/png;base64,{base64.b64encode(out.getvalue()).decode('ascii')}"
