"""`regions.inline`: boxes within text, read as written, refused where they only look so."""

import pytest

from llamafactory_hind.regions.inline import InlineBox, has_inline, plain_boxes, replace_inline, write_inline


@pytest.mark.parametrize(
    ("text", "one"),
    [
        ("<box:64,48,320,240>", InlineBox(0, (64, 48, 320, 240))),
        ("<box: 64 , 48, 320 ,240 >", InlineBox(0, (64, 48, 320, 240))),
        ("<box:3:64,48,320.5,240>", InlineBox(3, (64, 48, 320.5, 240))),
        ("<box:0:-1,48,320,240:a dog, old: no 3>", InlineBox(0, (-1, 48, 320, 240), "a dog, old: no 3")),
        ("<box:1,2,3,4:狗>", InlineBox(0, (1, 2, 3, 4), "狗")),
        ("<box:1,2,3,4:>", InlineBox(0, (1, 2, 3, 4))),
    ],
)
def test_forms(text: str, one: InlineBox) -> None:
    found: list[InlineBox] = []
    assert replace_inline(f"Is {text} it?", lambda box: found.append(box) or "x") == "Is x it?"
    assert found == [one]
    again = write_inline(one.box, image=one.image, label=one.label)
    assert replace_inline(again, lambda box: found.append(box) or "") == ""
    assert found[1] == one


@pytest.mark.parametrize(
    "text", ["<box:1,2,3>", "<box:1,2,3,4", "<box:a,2,3,4>", "<box:1,2,3,nan>", "<box:1,2,3,4,5>", "<box:0:1:1,2,3,4>"]
)
def test_what_only_looks_like_a_box_is_refused(text: str) -> None:
    assert has_inline(text)
    with pytest.raises(ValueError, match="expected <box:64,48,320,240>"):
        replace_inline(f"Where is {text}", lambda one: "")
    assert plain_boxes(f"Where is {text}") == f"Where is {text}"


def test_texts_of_models_are_no_inline_boxes() -> None:
    """InternVL's tag has no colon, and text without boxes stays as it is."""
    for text in ("<box>[[1, 2, 3, 4]]</box>", "a box: 1,2,3,4", ""):
        assert not has_inline(text)
        assert replace_inline(text, lambda one: "x") == text


def test_labels_that_would_break_the_form_are_refused() -> None:
    for label in ("a<b", "a>b", "a\nb", " "):
        with pytest.raises(ValueError, match="one line without < and >"):
            write_inline((1, 2, 3, 4), label=label)


def test_a_hostile_text_takes_no_time() -> None:
    """Linear in its length: repeats of what a box begins with."""
    text = "<box:" * 20_000 + "<box:1,2,3,4>" + "<box:1,1," * 20_000
    assert "[1, 2, 3, 4]" in plain_boxes(text)
