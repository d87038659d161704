"""The command ``pennyweight router``: training a learned router, and judging it as every benchmark is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .calibrate import calibrate

Data = Annotated[
    Path,
    typer.Argument(
        help="JSON Lines (or .gz) with prompt, weak_ok, strong_ok; optionally task, weak_cost, strong_cost.",
        show_default=False,
    ),
]

router = typer.Typer(
    name="router",
    help="Learn which prompts gain from the strong model, and judge how well that is known.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
)


@router.command()
def train(
    data: Data,
    out: Annotated[Path, typer.Option(help="The directory to write the router to.", show_default=False)],
    folds: Annotated[int, typer.Option(min=2, help="Of the cross-validation.")] = 5,
    ridge: Annotated[float, typer.Option(min=1e-6, help="The penalty; more for fewer or noisier rows.")] = 20.0,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a router on prompts that both models' answers were judged for.

    \b
        pennyweight router train judged.jsonl.gz --out router/

    Cross-validation gives its calibration, the thresholds for wanted shares and qualities, and its scores; then it is
    fitted to all rows. The same data gives the same router. --out gets manifest.json and weights.safetensors.
    """
    import msgspec

    from pennyweight.bench.router.progress import told
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.router.learned.examples import read_examples
    from pennyweight.server.router.learned.model_file import Recipe, write_model
    from pennyweight.server.router.learned.trainer import FITTING, READING
    from pennyweight.server.router.learned.trainer import train as train_router

    examples = read_examples(data)
    recipe = Recipe(ridge=ridge, folds=folds, seed=seed)
    with told({READING: len(examples), FITTING: folds + 1}) as tell:
        manifest, tensors = train_router(examples, recipe, tell)
    try:
        manifest = write_model(out, manifest, tensors)
    except OSError as error:
        raise ConfigError(f"{out} can't be written: {error}") from None
    for kind, scores in manifest.scores.items():
        typer.echo(
            f"{kind}: APGR {scores['apgr']:.3f}, 95 % of the strong model's quality with {scores['share_for_95_percent']:.0%} of its "
            f"answers ({scores['rows']:,.0f} prompts, {folds}-fold cross-validation)",
            err=True,
        )
    print(msgspec.json.encode({"out": str(out), "rows": manifest.rows, "scores": manifest.scores}).decode())


@router.command("eval")
def evaluate(
    data: Data,
    router: Annotated[
        Path | None,
        typer.Option(help="A trained router; DATA must be none that it has seen.", show_default=False),
    ] = None,
    cross_validate: Annotated[
        int, typer.Option(min=2, help="Folds: of the recipe without --router, and of the TF-IDF baselines.")
    ] = 5,
    resamples: Annotated[int, typer.Option(min=10, help="Of the bootstrap.")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    out: Annotated[
        Path | None, typer.Option(help="A directory for the result and a page with plots.", show_default=False)
    ] = None,
) -> None:
    """Judge a router on judged prompts, beside random, prompt length, TF-IDF and the oracle.

    \b
        pennyweight router eval held-out.jsonl.gz --router router/ --out results/router
        pennyweight router eval judged.jsonl.gz --cross-validate 5

    Without --router the recipe of `router train` is cross-validated. PGR is the part of the gap between the models'
    qualities that is closed at a share of strong answers, APGR its mean over all shares, CPT(x) the least share for a PGR
    of x % (RouteLLM, arXiv:2406.18665); AIQ is the mean quality over the cost (RouterBench, arXiv:2403.12031), where data
    without costs counts 0 for the weak and 1 for the strong model. Equal scores are averaged over their orders. Intervals
    are 95 % bootstrap intervals over prompts, the difference from length paired.
    """
    import numpy as np

    from pennyweight.bench.report.kinds.router import LEARNED
    from pennyweight.bench.report.svg import NoMatplotlib
    from pennyweight.bench.report.write import write_report
    from pennyweight.bench.result import Run, show
    from pennyweight.bench.router.baselines import baselines
    from pennyweight.bench.router.evaluation import evaluate as judge
    from pennyweight.bench.router.progress import told
    from pennyweight.bench.router.table import table
    from pennyweight.server.errors import ConfigError
    from pennyweight.server.router.learned import LearnedRouter
    from pennyweight.server.router.learned.examples import read_examples
    from pennyweight.server.router.learned.model_file import Recipe
    from pennyweight.server.router.learned.trainer import FITTING, READING, cross_validated_gain, kinds

    settings = {"data": data, "router": router, "folds": cross_validate, "resamples": resamples, "seed": seed}
    run = Run("router", settings)
    examples = read_examples(data)
    if not examples.gain.sum() > 0:
        raise ConfigError(
            f"{data}: the strong model is right no more often than the weak one: there is nothing to route for"
        )
    recipe = Recipe(folds=cross_validate, seed=seed)
    complaints = []
    steps = {READING: len(examples), FITTING: cross_validate, "resamples": resamples * len(kinds(examples))}
    with told(steps) as tell:
        if router is None:
            learned = cross_validated_gain(examples, recipe, tell)
            how = f"Cross-validated in {cross_validate} folds: every prompt is scored by a router that has not seen it"
        else:
            loaded = LearnedRouter.load(router)
            found = []
            for prompt in examples.prompts:
                found.append(loaded.strong_gain(prompt).score)
                tell(READING, 1)
            learned = np.array(found)
            how = f"The router was trained on {loaded.manifest.rows:,} other prompts"
            if loaded.manifest.data_sha256 == examples.sha256:
                complaints.append(
                    "the router was trained on this very data: evaluate it on other prompts, or without --router"
                )
        scores = {LEARNED: learned, **baselines(examples, cross_validate, seed)}
        of_kinds = judge(examples, scores, resamples, seed, lambda: tell("resamples", 1))
    result = run.result(
        {"how": how, "data_sha256": examples.sha256, "kinds": of_kinds},
        versions={"numpy": np.__version__},
        complaints=tuple(complaints),
    )
    show(result, out, *(table(kind, one) for kind, one in of_kinds.items()))
    if out is not None:
        try:
            typer.echo(write_report([out], out), err=True)
        except NoMatplotlib as error:
            typer.echo(f"no page was written: {error}", err=True)


router.command()(calibrate)
