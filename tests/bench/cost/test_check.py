from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from pennyweight.bench.cost.check import read_checks


def test_rows_say_what_their_answers_must_be(tmp_path: Path) -> None:
    file = tmp_path / "rows.jsonl.gz"
    with gzip.open(file, "wt") as lines:
        lines.write('{"prompt": "a"}\n\n{"prompt": "b", "expect": "(?i)paris"}\n')
        lines.write('{"prompt": "c", "schema": {"type": "object", "required": ["city"]}}\n')
    none, expected, schema = read_checks(file)
    assert none is None
    assert expected is not None
    assert expected.is_passed("It is PARIS.")
    assert not expected.is_passed("It is Rome.")
    assert schema is not None
    assert schema.is_passed('{"city": "Paris"}')
    assert not schema.is_passed('{"town": "Paris"}')
    assert not schema.is_passed('Paris: {"city": 1}')


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"expect": "("}', "line 2: missing \\), unterminated"),
        ('{"expect": 3}', "line 2: expect must be a regular expression"),
        ('{"schema": {"type": "objekt"}}', "line 2: 'objekt' is not valid"),
        ('{"expect": "a", "schema": {}}', "line 2: expect and schema stand in one row"),
        ("{", "line 2: Expecting"),
    ],
)
def test_a_wrong_check_is_told_by_its_line(tmp_path: Path, row: str, said: str) -> None:
    file = tmp_path / "rows.jsonl"
    file.write_text(f'{{"prompt": "a"}}\n{row}\n')
    with pytest.raises(ValueError, match=said):
        read_checks(file)
