"""Our tabs: each file is one, with words in all languages of the host."""

from typing import Any

from llamafactory_hind.board.labels import LANGUAGES, locales
from llamafactory_hind.board.tabs import labels, tab_name, tabs


def test_a_tab_has_what_its_folder_says() -> None:
    found = tabs()
    assert "completions" in dict(found)
    orders = [module.ORDER for _, module in found]
    assert orders == sorted(set(orders))
    for _, module in found:
        assert all(isinstance(word, str) and word for word in module.TITLE)
        assert callable(module.build)


def test_every_word_is_there_in_every_language() -> None:
    ours: dict[str, Any] = locales()
    for name, words in labels().items():
        assert set(ours[name]) == set(LANGUAGES)
        for attribute, (english, chinese) in words.items():
            assert ours[name]["en"][attribute] == ours[name]["ru"][attribute] == english
            assert ours[name]["zh"][attribute] == chinese


def test_names_of_elements_are_told_from_the_hosts() -> None:
    assert all(name.startswith("hind_") for name in labels())
    assert tab_name("completions") == "hind_completions_tab"
