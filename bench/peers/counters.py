"""What a running server of ours has counted."""

from __future__ import annotations

import aiohttp
from prometheus_client.parser import text_string_to_metric_families


async def counters_of(session: aiohttp.ClientSession) -> dict[str, float]:
    """The server's counters, each summed over its labels, by its name without the prefix."""
    async with session.get("/metrics") as response:
        text = await response.text()
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            # Prompts are computed too; what is counted here is what was generated.
            if sample.name.endswith("_total") and sample.labels.get("phase", "decode") == "decode":
                name = sample.name.removeprefix("pennyweight:")
                found[name] = found.get(name, 0.0) + sample.value
    return found
