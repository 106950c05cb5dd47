"""What the key `teacher` says: which models teach, how they are reached, and which of them teaches which row.

Read and refused before anything is loaded or called.
"""

import math
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ...config.problem import listed
from ...config.types import nearest
from ...formats.fields import read_columns
from ..interface import Capabilities
from ..open import AT_MOST
from ..server.api_key import ApiKey
from ..server.endpoints import Endpoints


BASE = "base"
DEFAULT = "default"  # the teacher of rows that no other teaches, and the name of one that teaches all
OWN_KEYS = ("model_name_or_path", "adapter_name_or_path", "device", "offload", "api")
ROUTED_KEYS = ("route_by", "teachers")
# Default of each key of `api` [ours], lowest value and whether it is whole: a step of training waits for these.
NUMBERS = {
    "concurrency": (16, 1, True),
    "timeout": (60.0, 1e-3, False),
    "max_retries": (3, 0, True),
    "deadline": (300.0, 1e-3, False),
}
API_KEYS = ("base_url", "base_urls", "model", "api_key_env", *NUMBERS, "extra_body")
WITHOUT = {  # capability that a kind of teacher lacks -> what that means, and what to do
    "distributions": "gives text only, no distributions over given tokens: `distill_weight` above 0 needs a local teacher "
    "(`model_name_or_path`) or `base`. Set `distill_weight: 0` to use it for hints alone.",
}
SECRETS = ("api_key", "key", "token", "authorization", "secret", "password")


@dataclass(frozen=True)
class Server:
    """A model behind an OpenAI-compatible server.

    Attributes:
        base_urls: such as `http://localhost:8000/v1`, used in turn.
        model: its name there.
        api_key_env: NAME of the environment variable with the key; None for servers without keys.
        concurrency: calls under way at a time.
        timeout: seconds for one attempt.
        max_retries: attempts after the first.
        deadline: seconds that all calls of one request for hints may take together.
        extra_body: added to the body of every call.
    """

    base_urls: tuple[str, ...]
    model: str
    api_key_env: str | None
    concurrency: int
    timeout: float
    max_retries: int
    deadline: float
    extra_body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TeacherSpec:
    """One teacher.

    Attributes:
        kind: `base` (the student with its adapter off), `local` (a model that the host loads) or `api` (a server).
        model_name_or_path: of a local one.
        settings: the host's keys for a local one; those of the student's run are its defaults.
        device: of a local one; None is the student's.
        offload: its weights stay in main memory between uses.
        server: of an api.
    """

    kind: str
    model_name_or_path: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str | None = None
    offload: bool = False
    server: Server | None = None

    @property
    def model(self) -> str:
        """Its name, for messages."""
        return self.server.model if self.server is not None else self.model_name_or_path or BASE

    @property
    def capabilities(self) -> Capabilities:
        """What a teacher of this kind can give at most; a local one's media are known when it is open."""
        return AT_MOST["hf" if self.server is None else "openai"]


@dataclass(frozen=True)
class TeacherPlan:
    """All teachers of a run.

    Attributes:
        source: the value of the key, for messages.
        teachers: name -> teacher; one that teaches all rows is named `default`.
        route_by: the row column whose value is the name of the row's teacher; None where there is one teacher.
    """

    source: str
    teachers: Mapping[str, TeacherSpec]
    route_by: str | None = None

    def route(self, columns: Mapping[str, Any]) -> str:
        """Return the name of a row's teacher.

        Args:
            columns: of the row.

        Raises:
            ValueError: the row names a teacher that is not there, and there is no `default`.
        """
        if self.route_by is None:
            return DEFAULT
        value = columns.get(self.route_by)
        name = DEFAULT if value is None else _name(value)
        if name in self.teachers:
            return name
        if DEFAULT in self.teachers:
            return DEFAULT
        raise ValueError(
            f"field `{self.route_by}`: got {value!r}, expected one of {', '.join(self.teachers)}; add this teacher or "
            f"`{DEFAULT}` to {self.source}."
        )

    def require(
        self, *, texts: bool = False, distributions: bool = False, images: bool = False, videos: bool = False
    ) -> None:
        """Refuse what teachers of these kinds cannot serve; a local one's media are checked when it is open.

        Args:
            texts: it writes hints.
            distributions: it gives full-vocabulary distributions over given ids, for `distill_weight` above 0.
            images: it is shown images.
            videos: likewise.

        Raises:
            ValueError: names every teacher that cannot, and what could.
        """
        asked = {"texts": texts, "distributions": distributions, "images": images, "videos": videos}
        needs = [kind for kind, wanted in asked.items() if wanted]
        problems = [
            f"teacher {name!r} ({spec.model}) is an `{spec.kind}`, which {WITHOUT.get(kind, f'has no {kind}')}"
            for name, spec in self.teachers.items()
            for kind in spec.capabilities.lacking(*needs)
        ]
        if problems:
            raise ValueError(f"teacher: {self.source} cannot serve this run:" + listed(problems))


def read_teacher_plan(value: str) -> TeacherPlan:
    """Read the value of the key `teacher`; nothing is loaded or called.

    Args:
        value: `base`, a model folder or hub name, or a `.yaml` file that describes one or several teachers.

    Raises:
        ValueError: everything that is wrong, one line each; what may be an API key is not shown.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"teacher: got {value!r}, expected `{BASE}`, a model folder or name, or a .yaml file.")
    if not value.endswith((".yaml", ".yml")):
        return TeacherPlan(value, {DEFAULT: _named(value)})
    problems: list[str] = []
    plan = _read_content(value, _content(value), problems)
    if problems:
        raise ValueError(f"teacher: {value} is wrong:" + listed(problems))
    return plan


def check_rows(plan: TeacherPlan, dataset: Any) -> Counter[str]:
    """Look up the teacher of every row before a model is loaded; return how many rows each teaches.

    Args:
        plan: the teachers.
        dataset: processed rows, with `columns` (JSON) and `place` or `row_id`.

    Raises:
        ValueError: rows whose teacher is not there, with file and row.
    """
    counts: Counter[str] = Counter()
    problems: list[str] = []
    place_column = "place" if "place" in dataset.column_names else "row_id"
    for place, columns in zip(dataset[place_column], dataset["columns"], strict=True):
        try:
            counts[plan.route(read_columns(columns))] += 1
        except ValueError as error:
            problems.append(f"{place}, {error}")
    if problems:
        raise ValueError(f"Rows without a teacher, {len(problems)} in all:" + listed(problems))
    return counts


def _content(path: str) -> Any:
    try:
        return yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"teacher: {path} cannot be read ({error.strerror}); give the path of a file.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)  # the message itself may quote a key
        where = "" if mark is None else f", line {mark.line + 1}"
        raise ValueError(f"teacher: {path}{where} is no YAML; correct it there.") from None


def _read_content(source: str, content: Any, problems: list[str]) -> TeacherPlan:
    if not isinstance(content, Mapping):
        problems.append(
            f"got {type(content).__name__}, expected keys such as model_name_or_path, api, or route_by with teachers."
        )
        return TeacherPlan(source, {})
    if not set(ROUTED_KEYS) & set(content):
        return TeacherPlan(source, {DEFAULT: _read_teacher(content, "", problems, near=ROUTED_KEYS)})
    _unknown(content, "", ROUTED_KEYS, problems)
    route_by, entries = content.get("route_by"), content.get("teachers")
    if not isinstance(route_by, str) or not route_by:
        problems.append(f"route_by: got {route_by!r}, expected the name of a row column.")
    if not isinstance(entries, Mapping) or not entries:
        problems.append("teachers: expected a mapping of the column's values, and perhaps `default`, to teachers.")
        return TeacherPlan(source, {})
    teachers = {}
    for key, entry in entries.items():
        where = f"teachers.{_name(key)}"
        if isinstance(entry, str) and entry.strip() and not entry.endswith((".yaml", ".yml")):
            teachers[_name(key)] = _named(entry)
        elif isinstance(entry, Mapping):
            teachers[_name(key)] = _read_teacher(entry, f"{where}.", problems)
        else:
            problems.append(
                f"{where}: got {type(entry).__name__}, expected `{BASE}`, a model or the keys of a teacher."
            )
    return TeacherPlan(source, teachers, str(route_by))


def _named(value: str) -> TeacherSpec:
    return TeacherSpec(BASE) if value == BASE else TeacherSpec("local", value)


def _read_teacher(
    content: Mapping[str, Any], where: str, problems: list[str], near: Collection[str] = ()
) -> TeacherSpec:
    from ..host_keys import host_keys  # its files are read, and not needed for `base` or a folder

    _unknown(content, where, OWN_KEYS, problems, host=host_keys(), near=near)
    if "api" in content:
        beside = sorted(map(str, set(content) - {"api"}))
        if beside:
            problems.append(f"{where}api: expected to stand alone, got {', '.join(beside)} beside it; remove them.")
        return TeacherSpec("api", server=_read_server(content["api"], f"{where}api.", problems))
    model, device, offload = content.get("model_name_or_path"), content.get("device"), content.get("offload", False)
    if not isinstance(model, str) or not model:
        problems.append(f"{where}model_name_or_path: got {model!r}, expected a folder, a name or `{BASE}` (or `api`).")
    if not isinstance(offload, bool):
        problems.append(f"{where}offload: got {offload!r}, expected true or false.")
    elif offload and content.get("quantization_bit") is not None:
        problems.append(f"{where}offload: got true with quantization_bit; quantised weights stay where they are.")
    if device is not None and (not isinstance(device, str) or not device):
        problems.append(f"{where}device: got {device!r}, expected auto, cpu, cuda:1 or the like.")
    host = {key: value for key, value in content.items() if key not in ("model_name_or_path", "device", "offload")}
    if model == BASE:
        if host or offload or device is not None:
            problems.append(f"{where}model_name_or_path: `{BASE}` is the student's own model and takes no other keys.")
        return TeacherSpec(BASE)
    return TeacherSpec("local", model, host, None if device == "auto" else device, offload is True)


def _read_server(content: Any, where: str, problems: list[str]) -> Server | None:
    if not isinstance(content, Mapping):
        problems.append(f"{where[:-1]}: got {type(content).__name__}, expected base_url and model.")
        return None
    secret = [str(key) for key in content if str(key).lower() in SECRETS]
    extra = content.get("extra_body") or {}
    if isinstance(extra, Mapping):
        secret += [f"extra_body.{key}" for key in extra if str(key).lower() in SECRETS]
    problems += [
        f"{where}{key}: no key is written here (not shown); export it, and give the NAME of the variable as api_key_env."
        for key in secret
    ]
    _unknown({key: value for key, value in content.items() if key not in secret}, where, API_KEYS, problems)
    urls = content.get("base_urls", content.get("base_url"))
    urls = [urls] if isinstance(urls, str) else urls
    try:
        Endpoints(urls if isinstance(urls, list) else [])
    except (ValueError, AttributeError) as error:
        problems.append(f"{where}{error}" if isinstance(error, ValueError) else f"{where}base_urls: expected texts.")
    if not isinstance(content.get("model"), str) or not content["model"]:
        problems.append(f"{where}model: got {content.get('model')!r}, expected the model's name at the server.")
    try:
        ApiKey(content.get("api_key_env"))
    except (ValueError, TypeError) as error:
        problem = str(error) if isinstance(error, ValueError) else "api_key_env: expected the NAME of a variable."
        problems.append(f"{where}{problem}")
    problems += [f"{where}{problem}" for problem in _wrong_extra(extra)]
    numbers = {key: content.get(key, default) for key, (default, _, _) in NUMBERS.items()}
    for key, value in numbers.items():
        _, lowest, whole = NUMBERS[key]
        if not _is_number(value, whole) or value < lowest:
            kind = "a whole number" if whole else "a number"
            problems.append(f"{where}{key}: got {value!r}, expected {kind}, {lowest:g} or more.")
    if problems:
        return None
    return Server(tuple(urls), content["model"], content.get("api_key_env"), **numbers, extra_body=dict(extra))


def _wrong_extra(extra: Any) -> list[str]:
    from ..server.parameters import OWN_PARAMETERS

    if not isinstance(extra, Mapping):
        return [f"extra_body: got {type(extra).__name__}, expected a mapping."]
    clash = sorted(OWN_PARAMETERS & set(extra))
    return [f"extra_body: got {', '.join(clash)}, which the engine sets itself."] if clash else []


def _is_number(value: Any, whole: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        return False
    return math.isfinite(value)


def _unknown(
    content: Mapping[Any, Any],
    where: str,
    known: Collection[str],
    problems: list[str],
    *,
    host: Collection[str] = (),
    near: Collection[str] = (),
) -> None:
    """Note keys that nobody reads; their values are not shown, in case one is a key of another kind."""
    for key in content:
        if key in known or key in host:
            continue
        close = nearest(str(key), {*known, *near, *host}, known)
        told = f"did you mean `{close}`?" if close else f"known are {', '.join(known)} and the host's model keys."
        problems.append(f"{where}{key}: unknown key; {told}")


def _name(value: Any) -> str:
    """Return a row's value, or a key of the file, as the name of a teacher: YAML reads 1 and true as no texts."""
    return str(value).lower() if isinstance(value, bool) else str(value)
