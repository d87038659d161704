from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from pennyweight.quantize.quality.choices import Question, choose, read_questions, summarise
from pennyweight.quantize.quality.samples import CHOICES


def test_the_likeliest_choice_is_that_by_the_byte() -> None:
    # -6 over 2 bytes and -8 over 4: the longer one, although the whole of it is less likely.
    assert choose([-6.0, -8.0], ["ab", "abcd"]) == 1
    assert choose([-6.0, -8.0], ["ab", "ab"]) == 0
    assert choose([-6.0, -6.0], ["é", "ab"]) == 0  # two bytes each


def test_accuracy_counts_questions_whose_answer_is_known_and_agreement_all() -> None:
    questions = [Question("q", ("a", "b"), answer) for answer in (0, 1, 1, None)]
    scores = summarise(questions, base=[0, 1, 0, 1], other=[0, 0, 0, 0])
    assert scores is not None
    assert scores.base_accuracy is not None
    assert scores.accuracy is not None
    assert (scores.questions, scores.answered) == (4, 3)
    assert scores.base_accuracy.value == pytest.approx(2 / 3)
    assert scores.accuracy.value == pytest.approx(1 / 3)
    assert scores.agreement.value == pytest.approx(2 / 4)


def test_without_known_answers_there_is_no_accuracy() -> None:
    scores = summarise([Question("q", ("a", "b"))], [0], [0])
    assert scores is not None
    assert (scores.answered, scores.accuracy, scores.agreement.value) == (0, None, 1.0)
    assert summarise([], [], []) is None


def test_the_shipped_questions_have_four_choices_and_an_answer_each_anywhere_among_them() -> None:
    questions = read_questions(CHOICES)
    assert len(questions) >= 60
    assert all(len(set(one.choices)) == 4 and one.answer is not None for one in questions)
    assert {one.answer for one in questions} == {0, 1, 2, 3}


def test_rows_of_both_forms_are_read_also_compressed(tmp_path: Path) -> None:
    rows = [
        {"question": "One?", "choices": ["yes", "no"], "answer": "no"},
        {"task": "mmlu/x", "prompt": "Two?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:"},
        {"task": "gsm8k", "prompt": "How many?"},
    ]
    file = tmp_path / "rows.jsonl.gz"
    file.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    assert read_questions(file) == [
        Question("Question: One?\nAnswer:", ("yes", "no"), 1),
        Question("Two?\nA. 1\nB. 2\nC. 3\nD. 4\nAnswer:", ("A", "B", "C", "D")),
    ]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"question": "One?", "choices": ["yes", "no"], "answer": 2}', "line 1: answer is 2"),
        ('{"question": "One?", "choices": ["yes", "no"], "answer": "maybe"}', "none of the 2 choices"),
        ('{"question": "One?", "choices": ["yes"]}', "no question in it"),
        ("[1]", "no question in it"),
        ("{", "line 1"),
        ("", "has no questions"),
    ],
)
def test_what_is_no_question_is_told_with_its_line(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(line)
    with pytest.raises(ValueError, match=message):
        read_questions(tmp_path / "rows.jsonl")
