"""The teachers of a run: opened from their plan, asked for texts and for hidden states, each row by its own.

A teacher that times out, answers nonsense or disappears costs hints, which are counted, never the run.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llamafactory.extras import logging

from ..interface import Completion, Request, Sampling
from ..seeds import random_keys
from .cache import text_key
from .interface import Failure, Teacher
from .local import LocalTeacher, open_local
from .plan import TeacherPlan, TeacherSpec
from .server import ServedTeacher
from .tokenization import check_same_tokenization


if TYPE_CHECKING:
    from ..local.weights import LoadedModel
    from .cache import TextCache

logger = logging.get_logger("llamafactory.hind.engines.teachers.pool")


class TeacherPool:
    """Models that help a student learn.

    Args:
        plan: which they are.
        student: the policy, loaded; what it shares with them is checked.
        settings: of the student's run (`local.run_settings`): template, limits of media and the like are theirs too.
        distributions: they will be asked for hidden states, so they must read tokens as the student does.
        images: they will be shown images.
        videos: likewise.

    Attributes:
        names: of the teachers, in the order of the plan; a number in a stream of the trainer counts them.
        failures: kind -> requests without an answer.

    Raises:
        ValueError: a teacher cannot do what is asked, or reads tokens in another way.
    """

    def __init__(
        self,
        plan: TeacherPlan,
        student: "LoadedModel",
        *,
        settings: Mapping[str, Any],
        distributions: bool,
        images: bool = False,
        videos: bool = False,
    ) -> None:
        """Load the local ones; nothing is sent to a server."""
        plan.require(distributions=distributions, images=images, videos=videos)
        self.plan = plan
        self.names = list(plan.teachers)
        self.failures: Counter[str] = Counter()
        self._opened: dict[str, Teacher] = {}
        self._fresh: set[str] = set()  # keys of texts that this run has written
        self._hits: Counter[str] = Counter()  # texts of earlier runs that a teacher was spared
        self._distrusted: set[str] = set()
        media = [kind for kind, wanted in (("images", images), ("videos", videos)) if wanted]
        for name, spec in plan.teachers.items():
            if spec.server is not None:
                self._opened[name] = ServedTeacher(spec.server, name=name, settings=settings)
            else:
                self._opened[name] = _open_local(
                    name, spec, student, settings, media=media, distributions=distributions
                )

    def route(self, columns: Mapping[str, Any]) -> str:
        """Return the name of a row's teacher; see `TeacherPlan.route`."""
        return self.plan.route(columns)

    def local(self, name: str) -> LocalTeacher:
        """Return a teacher in this process.

        Raises:
            ValueError: it is a server.
        """
        teacher = self._opened[name]
        if not isinstance(teacher, LocalTeacher):
            raise ValueError(f"teacher {name!r} is a server, which gives text only; see `TeacherPlan.require`.")
        return teacher

    def write(
        self,
        requests: Sequence[Request],
        columns: Sequence[Mapping[str, Any]],
        sampling: Sampling,
        *,
        cache: "TextCache | None" = None,
    ) -> list[list[Completion] | None]:
        """Write for every request, each by the teacher of its row.

        Args:
            requests: with keys of their own, which name their random numbers.
            columns: of the row of each.
            sampling: how to write.
            cache: is asked first, and keeps what was written.

        Returns:
            The completions of each request; None where a server failed after all retries.
        """
        # alone, in a batch and beside cached ones a request draws the same random numbers
        named = [replace(request, key=key) for request, key in zip(requests, random_keys(requests), strict=True)]
        found: list[list[Completion] | None] = [None] * len(named)
        keys: dict[int, str] = {}
        open_places: dict[str, list[int]] = {}
        for place, (request, row) in enumerate(zip(named, columns, strict=True)):
            name = self.route(row)
            if cache is not None:
                keys[place] = text_key(self._opened[name].identity, request, sampling)
                found[place] = self._trusted(name, request, keys[place], cache.find(keys[place]))
            if found[place] is None:
                open_places.setdefault(name, []).append(place)
        for name, places in open_places.items():
            written = self._opened[name].write([named[place] for place in places], sampling)
            for place, outcome in zip(places, written, strict=True):
                if isinstance(outcome, Failure):
                    self._note(name, outcome)
                    continue
                found[place] = outcome
                if cache is not None:
                    cache.keep(keys[place], outcome)
                    self._fresh.add(keys[place])
        return found

    def _trusted(
        self, name: str, request: Request, key: str, cached: list[Completion] | None
    ) -> list[Completion] | None:
        """Return a cached text, None where the teacher that wrote it was another one under the same name.

        The first, second, fourth, eighth … text of an earlier run is scored again; a server gives nothing to compare.
        """
        teacher = self._opened[name]
        if not cached or key in self._fresh or not isinstance(teacher, LocalTeacher):
            return cached
        if name in self._distrusted:
            return None
        self._hits[name] += 1
        if self._hits[name].bit_count() > 1 or all(teacher.still_gives(request, each) for each in cached[:1]):
            return cached
        self._distrusted.add(name)
        logger.warning_rank0(
            f"teacher {name!r}: a cached text, scored again, has another log-prob than it had; its cached texts are written anew."
        )
        return None

    def close(self) -> None:
        """Release connections."""
        for teacher in self._opened.values():
            teacher.close()

    def _note(self, name: str, failure: Failure) -> None:
        """Count a failure, and say so the first, tenth, hundredth … time of its kind."""
        self.failures[failure.kind] += 1
        count = self.failures[failure.kind]
        if failure.kind != "skipped" and str(count).strip("0") == "1":
            logger.warning_rank0(
                f"teacher {name!r}: {count} request{'s' * (count > 1)} failed so far ({failure.kind}), the last because "
                f"{failure.reason}; going on without hints for these."
            )


def _open_local(
    name: str,
    spec: TeacherSpec,
    student: "LoadedModel",
    settings: Mapping[str, Any],
    *,
    media: Sequence[str],
    distributions: bool,
) -> LocalTeacher:
    """Load a teacher and refuse one that takes no such media, or reads tokens in another way."""
    teacher = open_local(spec, student, settings)
    lacking = teacher.engine.capabilities.lacking(*media) if teacher.loaded.processor is not None else media
    if lacking:
        raise ValueError(f"teacher {name!r} takes no {lacking[0]}, which the rows have: choose a model that does.")
    if distributions and teacher.loaded is not student:
        check_same_tokenization(student, teacher.loaded, name=name)
    return teacher
