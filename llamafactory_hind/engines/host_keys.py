"""Keys of the host that a model of ours takes beside ours, read from the host's files: nothing of it is imported."""

from dataclasses import fields
from functools import cache

from ..config import DATA_ARGUMENTS
from ..config.keys.declared import DATA_FILE, MODEL_FILE, declared, package_folder


# Of the data arguments, the host's and ours, those that shape a prompt.
PROMPT_KEYS = ("template", "tool_format", "default_system", "enable_thinking", "preserve_thinking", "media_as_host")
OUR_MODEL_KEYS = ("model_name_or_path", "adapter_name_or_path")


@cache
def host_keys() -> frozenset[str]:
    """Return the host's keys that may be given beside ours: of the model and its media, and of the template.

    Raises:
        RuntimeError: LLaMA-Factory is not installed.
    """
    host = package_folder("llamafactory")
    if host is None:
        raise RuntimeError("LLaMA-Factory is not installed, so its keys are not known: pip install llamafactory.")
    ours = {entry.name for owner in DATA_ARGUMENTS for entry in fields(owner)}
    prompt = {key for key in {*declared(host / DATA_FILE), *ours} if key in PROMPT_KEYS}
    return frozenset({*declared(host / MODEL_FILE), *prompt} - set(OUR_MODEL_KEYS))
