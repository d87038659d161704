"""Whether vLLM's results depend on the batch, by what it has switched on."""

from __future__ import annotations

# Switches vLLM's batch-invariant mode on, for the whole process.
VARIABLE = "VLLM_BATCH_INVARIANT"


def refusal(*, device: str, is_switched_on: bool) -> str:
    """Why vLLM is not to be started like that; empty where it may be.

    On a CPU its mode (0.32) puts kernels of Triton's in the place of PyTorch's, which are none there: the first step ends the engine.
    """
    if is_switched_on and device == "cpu":
        return "vLLM's batch-invariant mode needs Triton's kernels, which there are none of on a CPU: its engine would die at the first request"
    return ""


def variance(*, is_switched_on: bool, quantization: str | None) -> str:
    """Why a request's logits may differ with what else is in the batch; empty where they don't, as vLLM says.

    Of quantised weights its mode covers some formats, of which none has been tried here.
    """
    if not is_switched_on:
        return "vLLM's batch-invariant mode is off (it is on with engine.deterministic: bitwise)"
    if quantization is not None:
        return f"vLLM's batch-invariant mode is not known to cover weights quantised as {quantization}"
    return ""
