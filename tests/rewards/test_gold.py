"""A gold text is read whole or not at all: pairs of gold text and answer by kind, with the right value."""

import pytest

from llamafactory_hind.rewards import get_reward
from llamafactory_hind.rewards.gold import describe_golds, read_gold
from llamafactory_hind.rewards.symbolic import is_equal


RIGHT = {  # kind -> gold -> answers that are right
    "mathematics": {
        "3": ["3", "3.0", "+3", "$3$", r"\boxed{3}", "6/2", "I count 3 of them.", "The answer is 3."],
        "-2": ["-2", "-2.0", "$-2$"],
        "0.5": ["1/2", r"\frac{1}{2}", ".5", "0.50"],
        "1/2": ["0.5", r"\frac{1}{2}", "2/4"],
        "50%": ["50%", "50 %", r"50\%", "0.5"],
        "1,000": ["1000", "1,000", "1000.0"],
        "1.5e3": ["1500", "1.5e3", "1,500"],
        "2E-2": ["0.02", "2e-2"],
        r"2\sqrt{3}": [r"2\sqrt{3}", r"\sqrt{12}", r"$2\sqrt{3}$"],
        r"\frac{3}{4}": ["0.75", "3/4"],
        "x^2+1": ["1+x^2", "x^2 + 1"],
        "3x": ["3x", "3*x"],
        "(1, 2)": ["(1, 2)", "(1,2)"],
        "[0, 1)": ["[0, 1)", "[0,1)"],
        r"\pi": [r"\pi"],
    },
    "list": {
        "1, 2, 3": ["1, 2, 3", "1,2,3", "(1, 2, 3)", "[1, 2, 3]", "1; 2; 3", "1.0, 2, 3", "The roots are 1, 2 and 3.", "$1, 2, 3$"],
        "1,2": ["1, 2", "1 , 2"],
        "1,000, 2,000": ["1000, 2000", "1,000, 2,000"],
        "red, blue": ["red, blue"],
        r"\frac{1}{2}, 3": ["0.5, 3", "1/2, 3"],
        "-1, 1": ["-1, 1", "-1 and 1 are the roots, so -1, 1"],
        "1, 2 and 3": ["1, 2, 3"],
        "(0, 1), (2, 3)": ["(0, 1), (2, 3)", "(0,1), (2,3)"],
    },
    "set": {
        "{1, 2}": ["{1, 2}", "{2, 1}", "2, 1", r"\{2, 1\}", r"$\{1, 2\}$"],
        r"\{a, b, c\}": ["{c, a, b}"],
    },
    "date": {
        "2019-05-01": ["2019-05-01", "2019-5-1", "2019/05/01", "It was 2019-05-01."],
        "05.12.1999": ["05.12.1999", "5.12.1999"],
    },
    "time or ratio": {
        "3:20": ["3:20", "03:20", "It is 3:20 now."],
        "10:30 am": ["10:30 AM", "10:30 a.m."],
        "1:02:03": ["1:02:03", "01:02:03"],
        "3:2": ["3:2", "6:4", "3 : 2", "The ratio is 3:2."],
    },
    "quantity": {
        "5 cm": ["5 cm", "5cm", "5", "5.0 cm", "It is 5 cm long.", r"5 \text{ cm}", r"5\,\mathrm{cm}"],
        "3 dogs": ["3 dogs", "3", "3 dog"],
        "2.5 m/s": ["2.5 m/s", "2.5"],
        "1/2 cup": ["1/2 cup", "0.5", "0.5 cups"],
        "$5": ["$5", "$5.00", "5"],
        "1,000 km": ["1000 km", "1,000 km"],
        "20 °C": ["20 °C", "20°C", "20"],
    },
    "text": {
        "moss": ["moss", "Moss", "moss."],
        "3 red cubes": ["3 red cubes", "3 Red cubes.", "3  red cubes"],
        "north of 5": ["North of 5"],
        "It is big, but it is not heavy.": ["it is big, but it is not heavy"],
    },
}  # fmt: skip
WRONG = {  # gold -> answers that share a part with it, or nothing
    "3": ["4", "33", "", "three hundred"],
    "50%": ["50.1%", "5"],
    "1,000": ["1", "1, 0", "100"],
    "1.5e3": ["1.5", "3", "150"],
    "(1, 2)": ["(2, 1)", "1", "2"],
    "[0, 1)": ["(0, 1)", "[0, 1]", "1"],
    "1, 2, 3": ["9, 9, 3", "3", "1", "3, 2, 1", "1, 2", "1, 2, 3, 4", "1 2 3", "The roots are 1, 2, 3 and 4.", "123"],
    "1,2": ["12", "2", "2, 1"],
    "1,000, 2,000": ["2000", "1000", "1, 000, 2, 000"],
    "red, blue": ["blue", "red", "blue, red", "red, blue, green"],
    r"\frac{1}{2}, 3": ["3", "0.5", "3, 0.5"],
    "(0, 1), (2, 3)": ["(2, 3)", "(0, 1)", "(2, 3), (0, 1)"],
    "{1, 2}": ["1", "2", "{1, 3}", "{1, 2, 3}", "{1, 1}"],
    r"\{a, b, c\}": ["{a, b}", "{a, b, d}"],
    "2019-05-01": ["2013", "2019", "1", "2019-05-02", "2019-01-05"],
    "3:20": ["20", "3", "3:21", "3:2", "6:40"],
    "10:30 am": ["10:30 pm", "10:30", "30"],
    "1:02:03": ["1:02", "3", "2:03"],
    "3:2": ["3", "2", "2:3", "3:20"],
    "5 cm": ["5 km", "6 cm", "6", "cm", "50 mm long"],
    "3 dogs": ["3 cats", "dogs", "4 dogs"],
    "2.5 m/s": ["2.5 km/h", "2"],
    "$5": ["€5", "$6", "6"],
    "20 °C": ["20 °F", "C"],
    "moss": ["grass", "3", ""],
    "3 red cubes": ["3", "3 cubes", "3 blue cubes", "red cubes", "the 3"],
    "north of 5": ["5", "south of 5", "north"],
}  # fmt: skip
PAIRS = [(gold, answer, True) for golds in RIGHT.values() for gold, answers in golds.items() for answer in answers]
PAIRS += [(gold, answer, False) for gold, answers in WRONG.items() for answer in answers]


@pytest.mark.parametrize(("gold", "answer", "right"), PAIRS)
def test_a_pair_has_the_right_value(gold: str, answer: str, right: bool) -> None:
    assert is_equal(gold, answer) is right
    assert get_reward("math")([f"<answer>{answer}</answer>"], answer=[gold]) == [float(right)]


@pytest.mark.parametrize(("kind", "gold"), [(kind, gold) for kind, golds in RIGHT.items() for gold in golds])
def test_the_kind_of_a_gold_text(kind: str, gold: str) -> None:
    assert read_gold(gold).kind == kind
    assert is_equal(gold, gold) is True  # a gold text is right itself


def test_kinds_are_counted_with_examples() -> None:
    found = describe_golds(["1, 2", "3", "4", "5", "5 cm", "3"])
    assert found == [("mathematics", 4, ["3", "4"]), ("list", 1, ["1, 2"]), ("quantity", 1, ["5 cm"])]
