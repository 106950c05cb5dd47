"""A frozen teacher in this process: the student with its adapter off, or another model that the host loads."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import fields
from itertools import chain
from typing import TYPE_CHECKING, Any

import torch
from llamafactory.extras import logging
from llamafactory.hparams.model_args import ProcessorArguments
from peft import PeftModel

from ...storage.digests import digest_path
from ..host_keys import PROMPT_KEYS
from ..interface import Completion, Request, Sampling
from ..local.engine import LocalEngine
from ..local.fingerprint import model_settings, processor_settings
from ..local.proof import Difference, disagreement, lengthened
from ..local.scoring import base_model, computes_in_half, otherwise
from ..local.sharded import is_split_now
from ..local.weights import LoadedModel, load_weights
from .plan import TeacherSpec


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, ModelArguments

logger = logging.get_logger("llamafactory.hind.engines.teachers.local")
REQUESTS_AT_ONCE = 16  # [ours] hints that a local teacher writes at a time
# What a teacher shares with the student unless its file says otherwise, beside the template and the limits of media.
SHARED_KEYS = ("trust_remote_code", "cache_dir", "use_fast_tokenizer", "split_special_tokens", "flash_attn")
COPIED_KEYS = ("model_revision", "rope_scaling")  # and what a copy of the student's own base shares as well


class LocalTeacher:
    """A model that is never trained.

    Args:
        loaded: its own, or the student's, whose adapter is then off while it teaches.
        student: the policy; the teacher computes where it is.
        identity: what the model is, for caches.
        device: where it computes instead; None is the student's.
        offload: its weights wait in main memory.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        *,
        student: LoadedModel,
        identity: Any,
        device: str | None = None,
        offload: bool = False,
    ) -> None:
        """Freeze a model of its own."""
        self.loaded, self.student, self.identity = loaded, student, identity
        self.is_base = loaded is student
        self.device = None if device is None else torch.device(device)
        self.offload = offload
        self.engine = LocalEngine(loaded, batch_size=REQUESTS_AT_ONCE, adapters=() if self.is_base else None)
        if not self.is_base:
            loaded.model.requires_grad_(False)
            loaded.model.eval()

    @property
    def words(self) -> int:
        """Ids that its table of embeddings knows."""
        return base_model(self.loaded.model).get_input_embeddings().weight.shape[0]

    @contextmanager
    def ready(self) -> Iterator[torch.nn.Module]:
        """Give the model in eval mode, without gradient, on its device and in its own precision."""
        model = self.loaded.model
        training = model.training
        model.eval()  # also its own: whoever walks over modules may have touched it
        with torch.no_grad(), self._base() if self.is_base else self._own(model):
            try:
                yield model
            finally:
                model.train(training and self.is_base)

    def write(self, requests: Sequence[Request], sampling: Sampling) -> list[list[Completion]]:
        """Write for every request, each with a key; see `interface.Engine`."""
        keys = [request.key or "" for request in requests]
        with self.ready():
            return self.engine.generate_prompts([self.engine.encode(request) for request in requests], keys, sampling)

    def still_gives(self, request: Request, completion: Completion) -> bool:
        """Whether a text of an earlier run has the log-prob under this model that it had when it was written; see `proof`."""
        ids = list(completion.token_ids)
        if completion.logprob is None or not ids:
            return True  # nothing to compare
        with self.ready() as model:
            text, longer = self.engine.encode(request, ids), self.engine.encode(request, lengthened(ids))
            alone = self.engine.score_prompts([text])[0]
            with otherwise(model):
                beside = self.engine.score_prompts([text, longer])[0]
            half = computes_in_half(model)
        kept, found, other = (
            torch.tensor([value / len(ids)]) for value in (completion.logprob, alone.logprob, beside.logprob)
        )
        return disagreement(kept, found, Difference.of(other, found), half=half) is None

    def close(self) -> None:
        """Nothing is held open."""

    def _base(self) -> AbstractContextManager[None]:
        if is_split_now(self.loaded.model):
            raise ValueError(
                "`teacher: base` with an adapter is the policy itself, whose weights FSDP2 has split while it learns, and not every "
                "process asks it. Give the base's path as `teacher`: a copy of its own is loaded."
            )
        return self.loaded.active(())  # in the precision of the student, whose weights these are

    @contextmanager
    def _own(self, model: torch.nn.Module) -> Iterator[None]:
        target = self.device or base_model(self.student.model).device
        with torch.autocast(target.type, enabled=False):
            if self.offload:
                with on_device(model, target):
                    yield
                return
            if base_model(model).device != target and not getattr(base_model(model), "is_quantized", False):
                model.to(target)
            yield


@contextmanager
def on_device(model: torch.nn.Module, device: torch.device) -> Iterator[None]:
    """Let a frozen model compute on a device while its weights stay where they are: nothing has to be brought back."""
    kept = [(tensor, tensor.data) for tensor in chain(model.parameters(), model.buffers())]
    try:
        for tensor, data in kept:
            tensor.data = data.to(device)
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data


def run_settings(model_args: "ModelArguments", data_args: "DataArguments") -> dict[str, Any]:
    """Return what the student's run says that a teacher goes by: the model, the template, limits of media, loading."""
    processor = [entry.name for entry in fields(ProcessorArguments) if entry.init]
    model = {key: getattr(model_args, key) for key in (*processor, *SHARED_KEYS, *COPIED_KEYS, "model_name_or_path")}
    return {**model, **{key: getattr(data_args, key) for key in PROMPT_KEYS if hasattr(data_args, key)}}


def open_local(spec: TeacherSpec, student: LoadedModel, settings: Mapping[str, Any]) -> LocalTeacher:
    """Load a teacher, or take the student's own base.

    Args:
        spec: `base` or `local`.
        student: the policy, loaded.
        settings: of the student's run, see `run_settings`.
    """
    own = dict(settings)
    student_path = str(own.pop("model_name_or_path", ""))
    if spec.kind == "base" and isinstance(student.model, PeftModel):
        what = model_settings(student.model, adapters=False)
        return LocalTeacher(
            student,
            student=student,
            identity=["base", digest_path(student_path), _shown(own), what, processor_settings(student.processor)],
        )
    if spec.kind == "base":
        logger.info_rank0(
            "teacher: base; all weights of the student are trained, so a copy of the model as it was is loaded."
        )
    else:
        for key in COPIED_KEYS:
            own.pop(key, None)
    path = spec.model_name_or_path or student_path
    chosen = {key: value for key, value in {**own, **spec.settings}.items() if value is not None}
    device = "cpu" if spec.offload else spec.device or base_model(student.model).device
    loaded = load_weights(path, settings=chosen, device=device)
    adapters = [digest_path(part.strip()) for part in str(chosen.get("adapter_name_or_path", "")).split(",")]
    return LocalTeacher(
        loaded,
        student=student,
        identity=[
            digest_path(path),
            adapters,
            _shown(chosen),
            model_settings(loaded.model),
            processor_settings(loaded.processor),
        ],
        device=spec.device,
        offload=spec.offload,
    )


def _shown(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings as a cache names them; where files are kept does not count."""
    elsewhere = (
        "cache_dir",
        "adapter_name_or_path",
        "flash_attn",
    )  # named by content, or by what the model says of itself
    return {key: str(value) for key, value in sorted(settings.items()) if key not in elsewhere}
