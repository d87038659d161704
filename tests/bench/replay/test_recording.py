from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from fakes.recorded import record, write_recording

from pennyweight.bench.replay.engine import engine_of, read_engine
from pennyweight.bench.replay.recording import Recording
from pennyweight.server.engines.manifest import Manifest
from pennyweight.server.errors import ConfigError
from pennyweight.server.record.case import make_case, write_case
from pennyweight.server.types import Route

MANIFEST = Manifest(fingerprint="fp_one", model="tiny", parts={"weights": "ab", "precision": "int8"})


def ids(recording: Recording) -> list[str]:
    return [one.record.id for one in recording]


def test_records_come_in_the_order_of_their_arrivals_with_their_manifests(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "one", MANIFEST, record(2), record(0), record(1))
    recording = Recording(path)
    assert ids(recording) == ["request0", "request1", "request2"]
    assert [one.manifest for one in recording] == [MANIFEST] * 3
    survey = recording.survey()
    assert (survey.records, survey.models, survey.manifests) == (3, {"tiny": 3}, {"tiny": MANIFEST})


def test_some_are_chosen_by_the_ids_of_requests_or_answers(tmp_path: Path) -> None:
    path = write_recording(tmp_path / "one", *map(record, range(4)), record(id="many-0"), record(id="many-1"))
    assert ids(Recording(path, ["request1", "cmpl-request3", "chatcmpl-many"])) == [
        *("many-0", "many-1", "request1", "request3")
    ]
    assert len(ids(Recording(path, limit=2))) == 2
    with pytest.raises(ConfigError, match="no record of other"):
        Recording(path, ["request1", "other"]).survey()


def test_an_empty_recording_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="has no records"):
        Recording(write_recording(tmp_path / "one", MANIFEST)).survey()
    with pytest.raises(ConfigError, match="there is no recording"):
        Recording(tmp_path / "none").survey()


def test_a_case_is_a_recording_of_one(tmp_path: Path) -> None:
    write_case(make_case(record(), MANIFEST, with_prompt=True), tmp_path / "case.json")
    assert [(one.record, one.manifest) for one in Recording(tmp_path / "case.json")] == [(record(), MANIFEST)]


def test_a_case_without_its_prompt_says_how_to_give_it_and_takes_that_one_alone(tmp_path: Path) -> None:
    case, prompt = tmp_path / "case.json", tmp_path / "prompt"
    write_case(make_case(record(), MANIFEST, with_prompt=False), case)
    with pytest.raises(ConfigError, match="exported without its prompt: give it with --prompt FILE"):
        Recording(case)
    for text in ("Say 0", '{"model": "tiny", "prompt": "Say 0"}'):
        prompt.write_text(text)
        (found,) = Recording(case, prompt=prompt)
        assert found.record.request == record().request
    prompt.write_text("Say 1")
    with pytest.raises(ConfigError, match="not the prompt that was recorded"):
        Recording(case, prompt=prompt)
    with pytest.raises(ConfigError, match="--prompt is for a case"):
        Recording(write_recording(tmp_path / "one", record()), prompt=prompt)


def test_the_recorded_model_is_started_in_its_precision(tmp_path: Path) -> None:
    survey = Recording(write_recording(tmp_path / "one", MANIFEST, record())).survey()
    engine = engine_of(survey)
    assert engine.serve is not None
    assert engine.serve.arguments == ("tiny", "--dtype", "int8")
    other = msgspec.structs.replace(MANIFEST, parts={**MANIFEST.parts, "kernels": "torch"})
    survey = Recording(write_recording(tmp_path / "other", other, record())).survey()
    assert engine_of(survey).text == "tiny --dtype int8 --kernels torch"


def test_what_was_routed_wants_the_servers_configuration(tmp_path: Path) -> None:
    routed = record(route=Route(model="tiny", tier="quick", policy="length", reason="short"))
    survey = Recording(write_recording(tmp_path / "one", routed)).survey()
    with pytest.raises(ConfigError, match="were routed: name the server"):
        engine_of(survey)


def test_an_engine_is_a_url_a_model_or_a_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "server.yaml").touch()
    assert read_engine("http://host:8000/v1/").url == "http://host:8000"
    model, configured = read_engine("tiny --dtype int8").serve, read_engine("server.yaml --max-num-seqs 4").serve
    assert model is not None
    assert model.arguments == ("tiny", "--dtype", "int8")
    assert not model.environment
    assert configured is not None
    assert configured.arguments == ("--config", str(tmp_path / "server.yaml"), "--max-num-seqs", "4")
    assert configured.environment["PENNYWEIGHT_RECORD__TENANTS"]
    for text in ("", "'open"):
        with pytest.raises(ConfigError):
            read_engine(text)
