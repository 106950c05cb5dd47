"""The host's `enable_thinking` reaches the prompts of the online stages: false puts an empty thought in front of what is written."""

from pathlib import Path

import pytest
from llamafactory.data import get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments, ModelArguments
from llamafactory.model import load_tokenizer

from llamafactory_hind.formats.processors.prompts import PROMPT, PromptProcessor


@pytest.mark.parametrize(("enabled", "ending"), [(True, ""), (False, "<think>\n\n</think>\n\n")])
def test_thinking_can_be_turned_off(small_world: Path, enabled: bool, ending: str) -> None:
    tokenizer = load_tokenizer(ModelArguments(model_name_or_path=str(small_world / "tiny")))["tokenizer"]
    arguments = DataArguments(template="qwen3", enable_thinking=enabled)
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    processor = PromptProcessor(template=template, tokenizer=tokenizer, processor=None, data_args=arguments)
    row = {"_prompt": [{"role": "user", "content": "Which is red?"}], "_response": [], "_system": "", "_tools": ""}
    row |= {"_images": None, "_videos": None, "_audios": None}
    (ids,) = processor.preprocess_dataset({name: [value] for name, value in row.items()})[PROMPT]
    assert tokenizer.decode(ids).endswith(f"<|im_start|>assistant\n{ending}")
