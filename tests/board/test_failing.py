"""A failed run on the page: the reason stands first, also where it is one of ours, and the stream stays."""

from llamafactory_hind.board.failing import reason_first, reason_of


TRACEBACK = (
    'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\nValueError: it is <b>wrong</b>\nbye\n'
)


def text(stream: str) -> str:
    """As `Runner.monitor` of the host writes it."""
    return f"Failed. Exit code: 2\n\n```\n{stream}\n```\n"


def test_a_message_of_ours_comes_first_and_whole() -> None:
    stream = "UserWarning: x\nllamafactory-cli train: 2 problems:\n- a: got 1\n- b: got 2"
    found = reason_first(text(stream))
    assert found.index("a: got 1") < found.index("b: got 2") < found.index("```")
    assert stream in found


def test_of_a_traceback_the_last_error_comes_first_and_is_no_markup() -> None:
    found = reason_first(text(TRACEBACK))
    assert found.index("it is &lt;b&gt;wrong") < found.index("```")
    assert reason_of("") == "It wrote nothing to its error stream."
    assert reason_of("a\nlast") == "last"


def test_a_stream_cannot_leave_its_box() -> None:
    assert reason_first(text("```\n<img src=x>")).count("```") == 2


def test_other_texts_stay() -> None:
    for other in ("", "Finished.", "```\nstep 1\n```\n"):
        assert reason_first(other) == other
