"""``pennyweight quantize MODEL``."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from pennyweight.quantize.recipe import CheckpointFormat, Method, Scheme

DATA, MACHINE = "Calibration", "Where it runs"


def run(
    model: Annotated[
        str,
        typer.Argument(
            help="A model's directory, or a name or hub id that `pennyweight pull` takes.", show_default=False
        ),
    ],
    scheme: Annotated[
        Scheme,
        typer.Option(
            help="w8a8: int8 weights and activations. w4a16: 4-bit weights in groups. fp8: 8-bit floats, for Hopper and newer. "
            "nf4, int8: bitsandbytes.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The directory to write, which must not exist yet.", show_default=False)],
    method: Annotated[
        Method | None,
        typer.Option(
            help="gptq, awq or rtn (round to nearest, no data). Default: gptq for w4a16, rtn for the others.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        CheckpointFormat | None,
        typer.Option(help="Of w4a16 by gptq also gptq, which GPTQModel writes.", show_default=False),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(
            help="Columns that share a scale in w4a16: 128, 64 or 32. Default: the largest that fits.",
            show_default=False,
        ),
    ] = None,
    symmetric: Annotated[
        bool, typer.Option("--symmetric/--asymmetric", help="w4a16 without zero points, or with.")
    ] = True,
    eight_bits: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A projection of w4a16 that gets 8 bits, in every layer: v_proj, or of one layer 0.mlp.down_proj. Repeatable. "
            "vLLM wants q_proj, k_proj and v_proj alike, and gate_proj and up_proj.",
            show_default=False,
        ),
    ] = None,
    smoothquant: Annotated[
        float | None,
        typer.Option(
            help="For w8a8: the share of the activations' range moved into the weights, such as 0.8.",
            show_default=False,
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Text, JSON lines with messages or text, or a directory of these. Default: a sample that comes along.",
            rich_help_panel=DATA,
            show_default=False,
        ),
    ] = None,
    calibration_samples: Annotated[
        int, typer.Option(min=1, help="Pieces of text at most.", rich_help_panel=DATA)
    ] = 128,
    calibration_tokens: Annotated[int, typer.Option(min=16, help="Tokens of each.", rich_help_panel=DATA)] = 512,
    python: Annotated[
        str | None,
        typer.Option(
            envvar="PENNYWEIGHT_QUANTIZE_PYTHON",
            help="The interpreter of an environment that has the libraries (`make quantize`). Default: this one.",
            rich_help_panel=MACHINE,
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.", rich_help_panel=MACHINE)] = "cpu",
    threads: Annotated[int, typer.Option(min=0, help="Of PyTorch; 0 is its own choice.", rich_help_panel=MACHINE)] = 0,
) -> None:
    """Quantise a model into a new directory, with a manifest of how it was made.

    Started again after it was stopped, the same command goes on with the layers that are done (GPTQ and AWQ by LLM Compressor;
    what the other libraries do begins anew). Until all is done the directory has its name with .incomplete behind it.
    """
    import msgspec
    from rich.console import Console

    from pennyweight.quantize.errors import QuantizeError
    from pennyweight.quantize.group_size import choose_group_size
    from pennyweight.quantize.libraries import interpreter
    from pennyweight.quantize.quantisation import Quantisation
    from pennyweight.quantize.recipe import make_recipe
    from pennyweight.quantize.source import read_source

    from .progress import QuantizeProgress

    console = Console(stderr=True, highlight=False)
    try:
        if device not in ("cpu", "cuda"):
            raise QuantizeError(f"--device {device} must be cpu or cuda")
        recipe = make_recipe(
            scheme,
            method=method,
            format=format,
            group_size=group_size,
            symmetric=symmetric,
            smoothquant=smoothquant,
            eight_bits=tuple(eight_bits or ()),
        )
        source = read_source(_directory(model))
        for name in recipe.eight_bits:
            if not any(module.endswith(f".{name}") for module in source.linears):
                raise QuantizeError(
                    f"--eight-bits {name} is no projection of this model: name one as v_proj or 0.mlp.down_proj"
                )
        if scheme is Scheme.W4A16:
            size = choose_group_size((columns for _, columns in source.linears.values()), group_size)
            if group_size is None:
                console.print(f"groups of {size} columns, the largest usual size that divides every projection")
            recipe = msgspec.structs.replace(recipe, group_size=size)
        quantisation = Quantisation(
            source=source,
            recipe=recipe,
            out=out,
            python=interpreter(python),
            device=device,
            calibration=calibration,
            samples=calibration_samples,
            tokens=calibration_tokens,
            threads=threads,
        )
        with QuantizeProgress(console) as progress:
            made = quantisation.run(progress.show)
    except QuantizeError as error:
        print(f"pennyweight: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        print(f"pennyweight: stopped; the same command goes on with what is in {out}.incomplete", file=sys.stderr)
        raise typer.Exit(130) from None
    before, after = made.source.nbytes, made.result.nbytes
    console.print(
        f"{recipe}: {before / 1e6:.0f} MB became {after / 1e6:.0f} MB ({after / before:.0%}) in {made.seconds:.0f} s"
    )
    print(out)


def _directory(model: str) -> Path:
    """A model's directory; one that is named is fetched by `pennyweight pull`, whose words go to the terminal.

    Raises QuantizeError where that can't.
    """
    from pennyweight.quantize.errors import QuantizeError

    if (path := Path(model).expanduser()).exists():
        return path
    ran = subprocess.run(
        [sys.executable, "-m", "pennyweight.server.cli", "pull", model], stdout=subprocess.PIPE, text=True, check=False
    )
    if ran.returncode != 0:
        raise QuantizeError(f"{model} is neither a directory nor a model that could be fetched (see above)")
    return Path(ran.stdout.splitlines()[-1])
