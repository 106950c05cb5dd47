"""Lists and values in error messages, by hand."""

import pytest

from llamafactory_hind.config.problem import ConfigError, Problem, first_of, listed, shorten, shorten_text, show


def test_lines_stand_below_the_title_and_say_how_many_more() -> None:
    assert "Title:" + listed(["a", "b"]) == "Title:\n  - a\n  - b"
    assert listed(["a", "b", "c"], shown=2) == "\n  - a\n  - b\n  - … and 1 more."
    assert listed(["a", "b"], shown=2) == "\n  - a\n  - b"
    assert listed([]) == ""
    assert listed(list(range(50))).count("\n") == 21, "20 by default, and the count"


def test_names_stand_in_a_sentence() -> None:
    assert first_of(["a", 2, "c"]) == "a, 2, c"
    assert first_of(["a", "b", "c", "d", "e"], separator="; ") == "a; b; c and 2 more"
    assert first_of(["a", "b"], shown=1) == "a and 1 more"


def test_a_value_keeps_its_ends() -> None:
    """Ten characters: four, one for what is left out, and the last five."""
    assert shorten_text("0123456789", limit=10) == "0123456789"
    assert shorten_text("0123456789a", limit=10) == "0123…6789a"
    assert shorten("x" * 100) == "'" + "x" * 38 + "…" + "x" * 39 + "'"
    assert shorten([1, None]) == "[1, None]"
    assert shorten(10**5000) == "a whole number of thousands of digits", "Python refuses to write it"
    assert show(None) == "nothing"
    assert show("a") == "'a'"


def test_a_config_error_hides_no_problem() -> None:
    error = ConfigError([Problem(f"key{number}", 0, "1", "Correct it.") for number in range(30)])
    assert str(error).count("\n  - key") == 30
    assert "30 problems" in str(error)


@pytest.mark.parametrize("key", ["api_key", "apikey", "OPENAI_API_KEY", "api.api_key", "hf_hub_token", "password"])
def test_a_text_under_a_key_that_may_be_secret_is_not_shown(key: str) -> None:
    """Unknown keys are told with what they got: `api_key` in place of `api_key_env` must not write the key into a log."""
    problem = Problem(key, "sk-abc", "a known key", "Did you mean `api_key_env`?")
    assert "sk-abc" not in str(problem) + str(ConfigError([problem])) + problem.got
    assert "got a value (not shown), expected a known key." in str(problem)


@pytest.mark.parametrize("key", ["api_key_env", "max_new_tokens", "monkey", "keys"])
def test_values_of_other_keys_are_shown(key: str) -> None:
    assert "got 'abc'" in str(Problem(key, "abc", "b", "c"))
