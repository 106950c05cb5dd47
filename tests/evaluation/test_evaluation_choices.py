"""Which option a model's words name, and which they do not: English and Chinese, letters, texts and numbers."""

import pytest

from llamafactory_hind.evaluation.choices import correct_options, exact_choice, parse_choice


ENGLISH = ["the cat", "dog", "hot dog", "to play", "ran away"]
CHINESE = ["猫在跑", "狗在睡觉", "人在吃饭"]

NAMED = {
    # the whole
    "B": 1, "(b)": 1, "B.": 1, "b) dog": 1, "Dog.": 1, '"dog"': 1, " THE  CAT\n": 0, "dog (B)": 1, "(A) the cat": 0,
    "\uff22": 1, "**B**": 1, "2": 2, "(2)": 2,
    # where the answer stands
    "<think>A or B</think><answer>C</answer>": 2, "The cat or B</think>D": 3, r"so \boxed{C}": 2, r"\boxed{\text{B}}": 1,
    # statements: the last one counts, an option named behind it does not
    "The answer is B": 1, "The correct answer is (C) hot dog.": 2, "Answer: B. Option A is not supported.": 1,
    "The answer is A. No: the answer is D": 3, "I choose D because it wants to play": 3, "Answer: A dog": 1,
    "The answer is option (D).": 3, "The correct choice is D": 3, "The answer is the hot dog": 2, "The answer is 2": 2,
    "Option A is wrong. So I choose E.": 4, "answer is E, not A": 4, "The answer options are A, B and C. I pick E": 4,
    # a marked letter in front
    "B. dog, because it barks": 1, "B. It barks at the cat": 1, "(D) since it would ran away": 3,
    # somewhere
    "I think it is the hot dog.": 2, "It is a dog": 1, "A dog runs": 1, "B dog": 1, "It must be E!": 4, "option 2": 2,
    "it isn't the cat but the dog": 1, "not A, so B": 1, "the second option": 1,
}  # fmt: skip
NAMED_IN_CHINESE = {
    "狗在睡觉": 1, "B. 狗在睡觉": 1, "（B）狗在睡觉": 1, "B、狗在睡觉": 1, "答案是B": 1, "答案：B": 1, "正确答案为（C）": 2,
    "答案是狗在睡觉。": 1, "因为人在吃饭": 2, "选B": 1, "选择A": 0, "我认为应该选择C。": 2, "选项C": 2, "最佳选项是C": 2,
    "选项2": 2, "第三个选项": 2, "第2个选项": 1, "不是猫在跑，而是狗在睡觉": 1, "本题选C。": 2, "所选答案：B": 1, "不是A，是B": 1,
}  # fmt: skip
NAMES_NONE = [
    "", " ", "none of them", "Both", "cat", "F", "I", "9", "5", "2.5", "A or B", "between A and B", "not the dog", "dog (A)",
    "A. dog", "(A) dog", "The answer is not B", "不是B", "答案不是B", "the cat and the dog", "e.g. nothing", "the ninth option",
    "3D", "I'd say", "猫狗", "hotdogs",
]  # fmt: skip


@pytest.mark.parametrize("text", NAMED)
def test_words_that_name_an_option(text: str) -> None:
    assert parse_choice(text, ENGLISH) == NAMED[text]


@pytest.mark.parametrize("text", NAMED_IN_CHINESE)
def test_chinese_words_that_name_an_option(text: str) -> None:
    assert parse_choice(text, CHINESE) == NAMED_IN_CHINESE[text]


@pytest.mark.parametrize("text", NAMES_NONE)
def test_words_that_name_none_or_several_are_never_guessed(text: str) -> None:
    assert parse_choice(text, ENGLISH) is None


def test_numbers_count_from_where_the_prompt_counts() -> None:
    """Ordinals are words, and count from 1 either way."""
    for text in ("2", "The answer is 2", "option 2", "选项2"):
        assert (parse_choice(text, ENGLISH), parse_choice(text, ENGLISH, first_number=1)) == (2, 1)
    assert parse_choice("the second option", ENGLISH, first_number=1) == 1
    assert parse_choice("0", ENGLISH, first_number=1) is None


def test_an_options_text_comes_before_its_letter_and_number() -> None:
    """Options that are numbers or letters themselves are meant as texts."""
    assert parse_choice("2", ["3", "2", "1"]) == 1
    assert parse_choice("The answer is 3", ["3", "2", "1"]) == 0
    assert parse_choice("There are 2 dogs", ["3", "2", "1"]) == 1
    assert parse_choice("B", ["B", "A"]) == 0


def test_options_of_one_text_cannot_be_told_apart_by_it() -> None:
    assert parse_choice("dog", ["dog", "cat", "dog"]) is None
    assert parse_choice("C", ["dog", "cat", "dog"]) == 2
    assert correct_options(["dog", "cat", "Dog."], "dog") == {0, 2}


def test_long_text_is_read_in_reasonable_time() -> None:
    assert parse_choice("A dog or C " * 20_000, ENGLISH) is None


@pytest.mark.parametrize(
    ("text", "index"), [("dog", 1), ("B", 1), (" 1 ", 1), ("Dog", None), ("b", None), ("(B)", None)]
)
def test_the_exact_way_takes_text_letter_and_number_as_they_stand(text: str, index: int | None) -> None:
    assert exact_choice(text, ENGLISH) == index


@pytest.mark.parametrize("answer", ["hot dog", "Hot dog.", "C", "2", 2])
def test_the_correct_option_in_its_forms(answer: int | str) -> None:
    assert correct_options(ENGLISH, answer) == {2}


@pytest.mark.parametrize("answer", ["cold dog", 5, -1, True, 1.0, None, "F"])
def test_an_answer_that_is_no_option_is_refused(answer: object) -> None:
    """STAR's usual loader keeps the answer of the row before."""
    with pytest.raises(ValueError, match="its letter, or its index from 0 to 4"):
        correct_options(ENGLISH, answer)  # type: ignore[arg-type]
