"""A report as a Markdown summary: the sentences, tables and links of the page, without its plots."""

from __future__ import annotations

from .document import Table
from .page import Page, Section


def as_markdown(page: Page, html_name: str) -> str:
    """The summary; ``html_name`` is the page that it points to for the plots."""
    parts = [f"# {_text(page.title)}", f"{_text('; '.join(page.machines))}. With plots: [{html_name}]({html_name})."]
    if page.complaints:
        parts.append("**These figures must not be quoted:**")
        parts.append("\n".join(f"- {_text(one.heading)}, {one.when}: {_text(text)}" for one, text in page.complaints))
    for group in page.groups:
        parts += _section(group.latest)
        if group.history is not None:
            parts += ["### Over time", as_table(group.history), _text(group.history.note)]
    return "\n\n".join(part for part in parts if part) + "\n"


def as_table(table: Table) -> str:
    """A table in the form of GitHub's Markdown."""
    rules = ["---" if number < table.text_columns else "---:" for number in range(len(table.columns))]
    rows = [table.columns, *table.rows]
    lines = ["| " + " | ".join(_text(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "|".join(rules) + "|", *lines[1:]])


def _section(section: Section) -> list[str]:
    parts = [f"## {_text(section.heading)}", f"{section.when}."]
    if section.complaints:
        parts.append("**Invalid: see above.**")
    parts.append("\n".join(f"- {_text(sentence)}" for sentence in section.story.answers))
    for table in section.story.tables:
        parts += [f"**{_text(table.title)}**", as_table(table), _text(table.note)]
    versions = next(table for table in section.details.tables if table.name == "versions")
    parts.append("Versions: " + _text(", ".join(" ".join(row) for row in versions.rows)) + ".")
    # Indented code can't be ended by anything that a command may hold.
    parts.append("\n".join(f"    {line}" for line in section.details.command.splitlines()))
    links = ", ".join(f"[{_text(link.name)}]({link.href})" for link in section.details.links)
    parts.append(f"Raw data: {links}.")
    return parts


def _text(text: str) -> str:
    """Text that means itself: no markup, and one line, as cells and headings must be."""
    for character in "\\`*_[]|<":
        text = text.replace(character, f"\\{character}")
    return " ".join(text.split())
