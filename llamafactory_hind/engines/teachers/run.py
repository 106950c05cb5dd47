"""The teachers of one run of a stage, from the key that names them to the end of the run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config.packages import missing_packages
from ...config.problem import listed
from .cache import TextCache
from .local import run_settings
from .plan import TeacherPlan, check_rows, read_teacher_plan
from .pool import TeacherPool


if TYPE_CHECKING:
    from llamafactory.hparams import DataArguments, ModelArguments
    from transformers import TrainingArguments

    from ..local.weights import LoadedModel


class TeacherRun:
    """Reads and refuses early, opens late, closes what it opened.

    Args:
        value: of the key: `base`, a model or a file; None is no teacher.
        model_args: the host's, of the student.
        data_args: the host's.
        training_args: the host's.
        distributions: teachers will be asked for hidden states.
        texts: they will be asked for texts.

    Attributes:
        plan: what the key says; None without a teacher.
        distributions: as given, False without a teacher.

    Raises:
        ValueError: the key is wrong, or names what cannot serve.
    """

    def __init__(
        self,
        value: str | None,
        model_args: "ModelArguments",
        data_args: "DataArguments",
        training_args: "TrainingArguments",
        *,
        distributions: bool,
        texts: bool,
    ) -> None:
        """Load and call nothing."""
        self.plan = read_teacher_plan(value) if value else None
        self.distributions, self.texts = distributions and self.plan is not None, texts
        self._arguments = (model_args, data_args)
        self._training_args = training_args
        self._media: dict[str, bool] = {}
        self._opened: list[Any] = []
        if self.plan is not None:
            self.plan.require(distributions=distributions, texts=texts)
            absent = absent_packages(self.plan)
            if absent:
                raise ValueError(f"teacher: {self.plan.source} needs packages that are not here:" + listed(absent))

    def check_dataset(self, dataset: Any) -> None:
        """Look at the processed training rows before a model is loaded.

        Raises:
            ValueError: a row's media or its teacher's name cannot be served.
        """
        if self.plan is not None:
            self._media = {kind: any(map(bool, dataset[kind])) for kind in ("images", "videos")}
            self.plan.require(distributions=self.distributions, texts=self.texts, **self._media)
            check_rows(self.plan, dataset)

    def open(self, loaded: "LoadedModel") -> TeacherPool | None:
        """Return the teachers; None without one, and where nothing is trained."""
        if self.plan is None or not self._training_args.do_train:
            return None
        settings = run_settings(*self._arguments)
        teachers = TeacherPool(self.plan, loaded, settings=settings, distributions=self.distributions, **self._media)
        self._opened.append(teachers)
        return teachers

    def cache(self, name: str) -> TextCache:
        """Return what keeps their texts, in a folder of the run's output."""
        cache = TextCache(Path(self._training_args.output_dir) / name, process=self._training_args.process_index)
        self._opened.append(cache)
        return cache

    def close(self) -> None:
        """Release connections and files."""
        while self._opened:
            self._opened.pop().close()


def absent_packages(plan: TeacherPlan) -> list[str]:
    """Return what the settings of local teachers ask for and this environment lacks, with what to do."""
    return [
        f"teacher {name!r}: {problem}"
        for name, spec in plan.teachers.items()
        for problem in missing_packages(spec.settings)
    ]
