"""The whole server on PyTorch's kernels, as on a CPU that the compiled ones are not for."""

from __future__ import annotations

from fakes.server_process import MODEL, server_process


async def test_a_server_without_compiled_kernels_answers() -> None:
    async with server_process(environment={"PENNYWEIGHT_CPU_ISA": "none"}) as server:
        question = {"role": "user", "content": "What is the capital of France?"}
        body = {"model": MODEL, "messages": [question], "max_tokens": 16, "temperature": 0}
        async with server.client.post("/v1/chat/completions", json=body) as answer:
            found = await answer.json()
        assert "Paris" in found["choices"][0]["message"]["content"]
