"""The process that quantises: ``python -m pennyweight.quantize.worker JOB``, started by ``process.py``.

Its standard output carries events alone; whatever the libraries print goes to standard error.
"""

from __future__ import annotations

import errno
import os
import sys
import traceback
from pathlib import Path

from .errors import QuantizeError
from .job import Failed, Finished, Job, Report, read_job
from .recipe import Library


def main() -> int:
    """Exit code 0 once the checkpoint is written; else the last event says why not."""
    events = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    report = Report(events)
    try:
        report.send(_quantise(read_job(Path(sys.argv[1])), report))
    except Exception as error:
        traceback.print_exc()
        report.send(Failed(_sentence(error)))
        return 1
    return 0


def _quantise(job: Job, report: Report) -> Finished:
    report.stage("loading the libraries")
    import torch

    if job.threads:
        torch.set_num_threads(job.threads)
    if job.device == "cuda" and not torch.cuda.is_available():
        raise QuantizeError(f"--device cuda: PyTorch {torch.__version__} sees no CUDA card; leave it out for the CPU")
    match job.recipe.library:
        case Library.LLM_COMPRESSOR:
            from .recipes import llm_compressor

            return llm_compressor.quantise(job, report)
        case Library.GPTQMODEL:
            from .recipes import gptq_model

            return gptq_model.quantise(job, report)
        case Library.BITSANDBYTES:
            from .recipes import bitsandbytes

            return bitsandbytes.quantise(job, report)


def _sentence(error: Exception) -> str:
    text = str(error).strip() or "no reason given"
    if isinstance(error, QuantizeError):
        return text
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in text:
        return "the disk is full; free some space and start the same command again"
    if isinstance(error, MemoryError) or "out of memory" in text.lower() or "can't allocate memory" in text:
        return f"the memory ran out ({text.splitlines()[0]}); try fewer --calibration-samples or --calibration-tokens"
    return f"{type(error).__name__}: {text.splitlines()[0]}"


if __name__ == "__main__":
    sys.exit(main())
