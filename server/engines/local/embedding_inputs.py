"""The inputs of an embedding request as token ids, each within the model's context."""

from __future__ import annotations

from pennyweight.server.errors import ContextLengthExceeded, InvalidRequest
from pennyweight.server.types import EmbedRequest, TextPrompt, TokensPrompt

from .submission import check_vocabulary
from .text_side import TextSide
from .text_threads import TextThreads


async def encode_inputs(
    request: EmbedRequest, text: TextSide, threads: TextThreads, *, max_model_len: int, vocab_size: int
) -> list[list[int]]:
    """The token ids of each input, those of texts with the special tokens that the tokenizer adds.

    Raises InvalidRequest for an input without a token or with ids outside the vocabulary, ContextLengthExceeded for one with more
    than ``max_model_len`` tokens; both name the input.
    """
    texts = [one for one in request.inputs if isinstance(one, TextPrompt)]
    encoded = iter(await threads.encode_all(text, texts, at_most=max_model_len))
    found = []
    for place, one in enumerate(request.inputs):
        param = f"input[{place}]" if request.is_list else "input"
        token_ids = list(one.token_ids) if isinstance(one, TokensPrompt) else next(encoded)
        if token_ids is None or len(token_ids) > max_model_len:
            count = f"at least {max_model_len + 1}" if token_ids is None else f"{len(token_ids)}"
            raise ContextLengthExceeded(
                f"This model's maximum context length is {max_model_len} tokens, but '{param}' has {count} tokens. "
                "Please reduce its length.",
                param=param,
            )
        if not token_ids:
            raise InvalidRequest(f"Invalid '{param}': it must hold at least one token.", param=param)
        if isinstance(one, TokensPrompt):
            check_vocabulary(token_ids, vocab_size, param)
        found.append(token_ids)
    return found
