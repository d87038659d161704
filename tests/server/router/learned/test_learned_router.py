from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest
from fakes.judged_prompts import judged_prompts
from hypothesis import given
from hypothesis import strategies as st

from pennyweight.server.errors import ConfigError
from pennyweight.server.router.learned import LearnedRouter
from pennyweight.server.router.learned.examples import as_columns, read_examples
from pennyweight.server.router.learned.model_file import MANIFEST, WEIGHTS, Recipe, write_model
from pennyweight.server.router.learned.trainer import cross_validated_gain, order, train
from pennyweight.server.router.learned.training import predict, read_features

LABELS = Path(__file__).parents[5] / "shared" / "data" / "router" / "routellm_labels.jsonl.gz"
EXAMPLES = as_columns(judged_prompts(), "of nothing")


def silent(what: str, count: int) -> None:
    pass


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("router")
    write_model(directory, *train(EXAMPLES, Recipe(), silent))
    return directory


@pytest.fixture
def router(trained: Path) -> LearnedRouter:
    return LearnedRouter.load(trained)


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    for name in (MANIFEST, WEIGHTS):
        (tmp_path / name).write_bytes((trained / name).read_bytes())
    return tmp_path


def test_what_gains_is_learned_and_calibrated(router: LearnedRouter) -> None:
    hard = router.strong_gain("Freja buys 77 pens at $3 each and sells half of them. What is the profit?")
    easy = router.strong_gain("Freja said hello to neighbour 77. Which word greets somebody?")
    assert hard.gain == pytest.approx(0.7, abs=0.2)
    assert easy.gain == pytest.approx(0.0, abs=0.2)
    assert hard.p_weak_ok == pytest.approx(0.2, abs=0.15)
    assert easy.p_weak_ok == pytest.approx(0.9, abs=0.15)
    assert hard.p_strong_ok == pytest.approx(0.9, abs=0.15)
    assert hard.score > easy.score


def test_other_prompts_of_the_kind_are_ordered_well(router: LearnedRouter) -> None:
    others = as_columns(judged_prompts(seed=1))
    scores = np.array([router.strong_gain(prompt).score for prompt in others.prompts])
    assert order(scores, others, np.arange(len(others))).curve().apgr > 0.7
    assert router.manifest.scores["all"]["apgr"] > 0.7
    assert set(router.manifest.scores) == {"all", "choices", "open"}


def test_one_prompt_gets_what_training_computes_for_many(trained: Path) -> None:
    _, tensors = train(EXAMPLES, Recipe(), silent)
    raw = predict(tensors, read_features(EXAMPLES), np.arange(20))
    router = LearnedRouter.load(trained)
    assert [router.strong_gain(prompt).score for prompt in EXAMPLES.prompts[:20]] == pytest.approx(
        raw[:, 1] - raw[:, 0], abs=1e-5
    )


def test_training_again_gives_the_same_files(trained: Path, tmp_path: Path) -> None:
    write_model(tmp_path, *train(EXAMPLES, Recipe(), silent))
    for name in (MANIFEST, WEIGHTS):
        assert (tmp_path / name).read_bytes() == (trained / name).read_bytes()


def test_another_process_decides_the_same_without_scikit_learn(trained: Path, router: LearnedRouter) -> None:
    prompt = EXAMPLES.prompts[3]
    script = (
        "import sys; from pennyweight.server.router.learned import LearnedRouter; "
        f"print(LearnedRouter.load({str(trained)!r}).strong_gain({prompt!r}).score.hex()); "
        "assert not {'sklearn', 'scipy', 'torch'} & set(sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == router.strong_gain(prompt).score.hex()


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_gets_probabilities(trained: Path, prompt: str) -> None:
    found = LearnedRouter.load(trained).strong_gain(prompt)
    assert 0 <= found.p_weak_ok <= 1
    assert 0 <= found.p_strong_ok <= 1
    assert -1 <= found.gain <= 1


def test_thresholds_keep_the_share_that_was_asked_for(router: LearnedRouter) -> None:
    others = [router.strong_gain(one.prompt).score for one in judged_prompts(seed=2)]
    threshold = router.threshold_for_share(0.4)
    assert sum(score >= threshold for score in others) / len(others) == pytest.approx(0.4, abs=0.1)
    assert router.threshold_for_share(0) == float("inf")
    assert router.threshold_for_share(1) == float("-inf")


def test_more_quality_takes_more_of_the_strong_model(router: LearnedRouter) -> None:
    thresholds = [router.threshold_for_quality(part) for part in (0, 0.7, 0.9, 0.95)]
    assert thresholds == sorted(thresholds, reverse=True)
    assert thresholds[0] == float("inf")


@pytest.mark.parametrize("wanted", [-0.1, 1.1, float("nan")])
def test_what_is_no_part_is_refused(router: LearnedRouter, wanted: float) -> None:
    with pytest.raises(ConfigError, match="strong_share"):
        router.threshold_for_share(wanted)
    with pytest.raises(ConfigError, match="quality"):
        router.threshold_for_quality(wanted)


def test_a_directory_without_a_router_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no learned router.*router train"):
        LearnedRouter.load(tmp_path / "none")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"features": 99}, "features is 99"),
        ({"format": 0}, "format is 0"),
        ({"operating_points": []}, "operating_points is empty"),
        ({"rows": "many"}, "rows"),
        ({"weights_sha256": "0"}, "hash differs"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_manifest_that_does_not_fit_says_why(copy: Path, change: dict[str, object], said: str) -> None:
    manifest = msgspec.json.decode((copy / MANIFEST).read_bytes()) | change
    (copy / MANIFEST).write_bytes(msgspec.json.encode(manifest))
    with pytest.raises(ConfigError, match=said):
        LearnedRouter.load(copy)


def test_damaged_weights_are_refused(copy: Path) -> None:
    weights = bytearray((copy / WEIGHTS).read_bytes())
    weights[-1] ^= 1
    (copy / WEIGHTS).write_bytes(weights)
    with pytest.raises(ConfigError, match="hash differs"):
        LearnedRouter.load(copy)


def test_a_form_that_was_hardly_seen_is_taken_for_the_other() -> None:
    open_only = as_columns([one for one in judged_prompts(500) if one.task == "open"])
    _, tensors = train(open_only, Recipe(), silent)
    assert (tensors["task"][:, 0] == tensors["task"][:, 1]).all()
    assert np.isfinite(tensors["task"]).all()


def test_data_without_any_gain_teaches_nothing() -> None:
    equal = as_columns([msgspec.structs.replace(one, strong_ok=one.weak_ok) for one in judged_prompts(20)])
    with pytest.raises(ConfigError, match="nothing to route for"):
        train(equal, Recipe(), silent)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('{"prompt": "x", "weak_ok": true}', "line 2.*strong_ok"),
        ('{"prompt": "x", "weak_ok": 2, "strong_ok": 1}', "line 2.*from 0 to 1"),
        ('{"prompt": "x", "weak_ok": 0, "strong_ok": 1, "weak_cost": 1}', "line 2.*strong_cost"),
        (
            '{"prompt": "x", "weak_ok": 0, "strong_ok": 1, "weak_cost": 1, "strong_cost": 2}',
            "1 of 2 examples have costs",
        ),
        ("{", "line 2"),
    ],
)
def test_data_that_is_wrong_names_its_line(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "judged.jsonl"
    path.write_text('{"prompt": "fine", "weak_ok": false, "strong_ok": 0.5}\n' + line)
    with pytest.raises(ConfigError, match=said):
        read_examples(path)


def test_the_same_prompt_lies_in_one_fold() -> None:
    twice = as_columns(
        [
            *judged_prompts(50),
            *(msgspec.structs.replace(one, prompt=f" {one.prompt.upper()}  ") for one in judged_prompts(50)),
        ]
    )
    folds = twice.folds(5)
    assert (folds[:50] == folds[50:]).all()
    assert len(set(folds.tolist())) == 5


@pytest.mark.slow
def test_real_labels_are_ordered_clearly_better_than_by_length() -> None:
    if not LABELS.exists():
        pytest.skip(f"the judged prompts are not beside this checkout ({LABELS})")
    examples = read_examples(LABELS)
    found = cross_validated_gain(examples, Recipe(), silent)
    for kind, wanted in (("mmlu", 0.64), ("gsm8k", 0.63)):
        rows = np.flatnonzero(np.array([one == kind for one in examples.kinds]))
        assert order(found, examples, rows).curve().apgr >= wanted
