from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from fakes.bench_results import EXAMPLES, make_result, serve_result, write_result

from pennyweight.bench.report.stored import NoResult
from pennyweight.bench.report.write import write_report

VOID = {"meta", "link", "br", "hr", "img", "input", "source"}


class Outline(HTMLParser):
    """Checks that elements are closed in order, and collects what a page could reach beyond itself."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []
        self.tags: set[str] = set()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        known = dict(attrs)
        if "id" in known:
            self.ids.append(str(known["id"]))
        self.links += [str(value) for name, value in attrs if name in ("href", "src", "xlink:href", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a suite that has a result of every kind, in another directory than the suite's."""
    root = tmp_path_factory.mktemp("reports")
    serve_result(root / "suite" / "serve")
    for kind, data in EXAMPLES.items():
        write_result(root / "suite" / kind, make_result(kind, data()))
    return write_report([root / "suite"], root / "pages" / "a week")


def test_a_page_needs_nothing_beside_itself(page: Path) -> None:
    text = page.read_text()
    found = Outline(text)
    assert "default-src 'none'; style-src 'unsafe-inline'; img-src data:" in text
    assert not found.tags & {"script", "link", "img", "iframe", "object", "form", "base"}
    assert not re.search(r"url\((?!#)|@import|\son\w+=", text)
    assert not any(link.startswith(("http:", "https:", "//", "data:", "javascript:")) for link in found.links)
    inside = {link[1:] for link in found.links if link.startswith("#")}
    assert inside <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))


def test_raw_data_is_linked_relative_to_the_page(page: Path) -> None:
    found = Outline(page.read_text())
    files = [link for link in found.links if not link.startswith("#")]
    assert "../../suite/serve/samples-0.jsonl.gz" in files
    assert all((page.parent / link).exists() for link in files)
    assert "../../suite/serve/result.json" in (page.parent / "report.md").read_text()


def test_every_plot_has_a_text_instead_and_a_size_that_follows_the_page(page: Path) -> None:
    text = page.read_text()
    plots = re.findall(r"<svg [^>]*>", text)
    assert len(plots) > 20
    for plot in plots:
        assert re.fullmatch(r'<svg viewBox="0 0 [\d.]+ [\d.]+" role="img" aria-label="[^"]{10,}">', plot)


def test_what_is_wrong_comes_before_any_figure(tmp_path: Path) -> None:
    wrong = make_result("decode", EXAMPLES["decode"](), complaints=("the client was late",))
    page = write_report([write_result(tmp_path, wrong)], tmp_path).read_text()
    assert page.index("the client was late") < page.index("In short")
    assert "must not be quoted" in page
    summary = (tmp_path / "report.md").read_text()
    assert summary.index("the client was late") < summary.index("tokens/s")


def test_what_a_result_says_is_never_markup(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>|`x`"
    data = {"note": evil, "rows": [{evil: evil}]}
    write_result(tmp_path, make_result("new-kind", data, command=evil, complaints=(evil,), versions={evil: evil}))
    serve_result(tmp_path / "b" / evil.replace("/", "_"), complaints=(evil,))
    frontend = {"rows": [{"server": evil, "connections": 1, "cpu_us_per_request": 5.0}]}
    write_result(tmp_path / "c", make_result("frontend", frontend))
    page = write_report([tmp_path], tmp_path).read_text()
    assert "<script" not in page
    Outline(page)
    assert "\n<script" not in (tmp_path / "report.md").read_text()


def test_the_same_results_give_the_same_page(tmp_path: Path) -> None:
    write_result(tmp_path, make_result("decode", EXAMPLES["decode"]()))
    first = write_report([tmp_path], tmp_path).read_text()
    assert write_report([tmp_path], tmp_path).read_text() == first


def test_directories_without_a_result_are_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(NoResult, match="is no directory"):
        write_report([tmp_path / "none"], tmp_path)
    with pytest.raises(NoResult, match=r"has no result\.json"):
        write_report([tmp_path], tmp_path)
    (tmp_path / "result.json").write_text('{"kind": "serve"}')
    with pytest.raises(NoResult, match="can't be read: Object missing required field"):
        write_report([tmp_path], tmp_path)
    assert not (tmp_path / "report.html").exists()
