"""Judged prompts whose outcome a router can learn: sums gain from the strong model, greetings don't, and some noise."""

from __future__ import annotations

import json
import random
from pathlib import Path

from pennyweight.server.router.learned.examples import Example


def judged_prompts(count: int = 400, seed: int = 0) -> list[Example]:
    """Half of them questions with choices; weak fails in 80 % of the hard ones and 10 % of the others, strong in 10 %."""
    drawn = random.Random(seed)
    names = ("Anna", "Bruno", "Chloe", "Dmitri", "Elif")
    found = []
    for number in range(count):
        hard = drawn.random() < 0.5
        name, amount = drawn.choice(names), drawn.randrange(10, 1000)
        if hard:
            text = f"{name} buys {amount} pens at ${drawn.randrange(2, 9)} each and sells half of them. What is the profit?"
        else:
            text = f"{name} said hello to neighbour {amount}. Which word greets somebody?"
        if number % 2:
            text += "\nA. yes\nB. no\nC. hello\nAnswer:"
        weak = drawn.random() > (0.8 if hard else 0.1)
        task = "choices/any" if number % 2 else "open"
        found.append(Example(prompt=text, weak_ok=weak, strong_ok=drawn.random() > 0.1, task=task))
    return found


def write_judged(path: Path, examples: list[Example]) -> Path:
    """As JSON Lines."""
    rows = (
        {"prompt": one.prompt, "weak_ok": one.weak_ok, "strong_ok": one.strong_ok, "task": one.task} for one in examples
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path
