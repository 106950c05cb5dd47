"""VisualCOMET (ECCV 2020): `{train,val,test}_annots.json` with VCR's pictures as `region` rows: sentences, or groups to rank.

People are numbers in its texts, from 1: `1` is object 0 of VCR.
"""

import argparse
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..regions import find_mentions, write_mention
from .reading.entries import Entry, Reader, read_json
from .reading.pointing import Objects, VcrPictures, keep_used


SUMMARY = "VisualCOMET: val_annots.json and VCR's pictures; a row for each sentence, or 50 candidates to rank"
FORMATTING = "region"
CANDIDATES = 50
DRAWN = 20  # [ours] times as many are looked at, for sentences repeat
QUESTIONS = {  # relation -> our wording
    "intent": "Why does this happen, what do they want?",
    "before": "What happened before?",
    "after": "What happens next?",
}
NUMBER = re.compile(r"(?<![\w.])(\d{1,4})(?=[\s,'.?]|$)")  # the official code takes every word of digits for a person


@dataclass(frozen=True)
class Event:
    """One event of a picture, checked.

    Attributes:
        place: file and entry.
        number: in the file, the official `event_idx`.
        record: as released.
        names: of the picture.
        objects: of the picture.
    """

    place: str
    number: int
    record: dict[str, Any]
    names: tuple[str, ...]
    objects: Objects


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this family."""
    parser.add_argument("--file", type=Path, required=True, help="train_annots.json or val_annots.json")
    parser.add_argument(
        "--rows",
        choices=["rank", "sentences"],
        default="rank",
        help="rank: a row for each event and relation, the gold sentences and others up to --candidates; "
        "sentences: a row for each sentence, to train on (default: %(default)s)",
    )
    parser.add_argument("--candidates", type=int, default=CANDIDATES, help="of a group (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the candidates (default: %(default)s)")


def read_entries(arguments: argparse.Namespace) -> list[Entry]:
    """Return the rows in the order of the file. The test split has no sentences.

    Raises:
        ImportRefused: a file or an event is not of the released form, or has no sentence.
    """
    reader = Reader()
    pictures = VcrPictures(arguments.images, reader)
    events = [
        _read_event(record, number, f"{arguments.file}, entry {number}", reader, pictures)
        for number, record in enumerate(read_json(arguments.file, list))
    ]
    if not any(sentences_of(event, relation) for event in events for relation in QUESTIONS):
        reader.problems.append(f"{arguments.file}: no event has sentences, as in the test split; give train or val")
    reader.finish()
    make = _sentence_rows if arguments.rows == "sentences" else _rank_rows
    entries = list(make(events, arguments, reader))
    reader.finish()
    return entries


def sentences_of(event: Event, relation: str) -> list[str]:
    """Return the sentences of a relation; it may be absent."""
    return list(event.record.get(relation) or [])


def _read_event(record: Any, number: int, place: str, reader: Reader, pictures: VcrPictures) -> Event:
    image, metadata, *_ = (
        reader.take(record, field, str, place, default="?") for field in ("img_fn", "metadata_fn", "event", "place")
    )
    for relation in QUESTIONS:
        if isinstance(record, dict) and record.get(relation):
            reader.take_texts(record, relation, place)
    return Event(place, number, record if isinstance(record, dict) else {}, *pictures.find(image, metadata))


def _sentence_rows(events: list[Event], arguments: argparse.Namespace, reader: Reader) -> Iterator[Entry]:
    for event in events:
        for relation in QUESTIONS:
            for index, sentence in enumerate(sentences_of(event, relation)):
                row, (text,) = _row(event, relation, [sentence])
                row_id = f"visualcomet-{event.number}-{relation}-{index}"
                yield Entry(event.place, row | {"id": row_id, "answer": text}, event.names)


def _rank_rows(events: list[Event], arguments: argparse.Namespace, reader: Reader) -> Iterator[Entry]:
    """Yield a row for each event and relation: gold sentences first, others of the file behind them, drawn with the seed.

    As in the official `random_50` the others are of any event and relation. There the draw has no fixed seed.
    """
    pool = [text for event in events for relation in QUESTIONS for text in sentences_of(event, relation)]
    for event in events:
        for relation in QUESTIONS:
            gold = sentences_of(event, relation)
            if not gold:
                continue
            row_id = f"visualcomet-{event.number}-{relation}"
            texts = [*gold, *_others(pool, gold, arguments.candidates, f"{arguments.seed} {row_id}")]
            if len(texts) < arguments.candidates:
                expected = f"{arguments.candidates} candidates; the file has {len(set(pool))} different sentences"
                reader.problems.append(f"{event.place}, field `{relation}`: got {len(texts)}, expected {expected}")
            row, choices = _row(event, relation, texts)
            yield Entry(event.place, row | {"id": row_id, "choices": choices, "num_gold": len(gold)}, event.names)


def _others(pool: list[str], gold: list[str], candidates: int, seed: str) -> list[str]:
    """Return sentences that fill a group up; none is in it twice [ours]."""
    rng, known, found = random.Random(seed), set(gold), []
    for index in rng.sample(range(len(pool)), min(len(pool), DRAWN * candidates)):
        if len(gold) + len(found) >= candidates:
            break
        if pool[index] not in known:
            known.add(pool[index])
            found.append(pool[index])
    return found


def _row(event: Event, relation: str, sentences: list[str]) -> tuple[dict[str, Any], list[str]]:
    """Return what all rows of an event and relation have, and the sentences with their people as mentions."""
    told = f"{event.record['event']} ({event.record['place']}). {QUESTIONS[relation]}"
    marked = [mark_people(text, len(event.objects.regions)) for text in (told, *sentences)]
    people = [] if find_mentions(marked[0]) else event.objects.people  # of the picture, as in the official code
    texts, regions = keep_used(marked, event.objects.regions, keep=people)
    row = {"id": "", "regions": regions, "question": texts[0], "relation": relation, "event_idx": event.number}
    kept = {name: event.record[name] for name in ("movie", "img_fn") if name in event.record}
    return row | kept, texts[1:]


def mark_people(text: str, count: int) -> str:
    """Return a text with its numbers as mentions, `1` as region 0; a number without an object stays as it is.

    The official code makes all words of digits people, also in `20 miles`. Sentences of other pictures may name more people
    than there are here.
    """

    def write(match: re.Match[str]) -> str:
        index = int(match[1]) - 1
        return write_mention(index) if 0 <= index < count else match[0]

    return NUMBER.sub(write, text)
