from __future__ import annotations

import subprocess
import sys

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.router.learned.ngrams import BUCKETS, ngrams
from pennyweight.server.router.learned.task_features import HEAD, NAMES, TAIL, form_of, task_features

QUESTION = "Which of the following is not a prime?\nA. 2\nB. 3\nC. 1,024.5\nD. none\nAnswer:"


def named(prompt: str) -> dict[str, float]:
    return dict(zip(NAMES, task_features(prompt).tolist(), strict=True))


def test_a_question_is_described() -> None:
    found = named(QUESTION)
    assert found["choices"] == 4
    assert found["which of the following"] == 1
    assert np.isclose(found["numbers"], np.log1p(3))
    assert np.isclose(found["largest number"], np.log10(1025.5))
    assert np.isclose(found["choices without words"], np.log1p(3))
    assert np.isclose(found["negations"], np.log1p(1))
    assert form_of(task_features(QUESTION)) == 0
    assert form_of(task_features("How much is 3 times 4?")) == 1


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_finite_features(prompt: str) -> None:
    assert np.isfinite(task_features(prompt)).all()
    indices, counts = ngrams(prompt)
    assert len(indices) == len(counts)
    assert np.isfinite(counts).all()
    assert (np.diff(indices) > 0).all()
    assert not len(indices) or 0 <= indices[0] <= indices[-1] < BUCKETS


def test_numbers_of_any_length_are_finite() -> None:
    assert np.isfinite(task_features("9" * 3000 + " ٣٤ 1,,2 1.5.6")).all()


def test_of_a_long_prompt_only_the_length_sees_the_middle() -> None:
    head, tail = "word " * (HEAD // 5), "end. " * (TAIL // 5)
    short, long = named(head + "x" * 10 + tail), named(head + "middle 7 " * 500 + tail)
    assert short["numbers"] == long["numbers"] == 0
    assert short["characters"] < long["characters"]


def test_n_grams_are_the_same_in_another_process() -> None:
    script = f"from pennyweight.server.router.learned.ngrams import ngrams; print(ngrams({QUESTION!r})[0].tolist())"
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == str(ngrams(QUESTION)[0].tolist())
