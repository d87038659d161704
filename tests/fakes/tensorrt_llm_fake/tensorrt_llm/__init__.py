"""A stand-in for TensorRT-LLM 1.2.1: its signatures and its way of streaming, over a toy rule for the next token.

Put the folder above this one on PYTHONPATH. What the real one refuses is refused with the same types of error. What a
prompt says makes it misbehave: see ``engine.FAULTS``; so do environment variables, see ``engine`` and ``llmapi.llm``.
"""

from .llmapi import LLM
from .sampling_params import SamplingParams

__version__ = "1.2.1"
__all__ = ["LLM", "SamplingParams"]
