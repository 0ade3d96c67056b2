import json
from pathlib import Path

import numpy as np
import pytest

from svsim.errors import LatencyError
from svsim.latency.linear import LinearLatency
from svsim.latency.shape import Role, StepShape
from svsim.reading import MAX_SMALL_BYTES

PASS = {"fixed_s": 1e-2, "per_new_token_s": 2e-5, "per_kv_token_s": 4e-8}
GOOD = {
    "kind": "linear",
    "target": PASS,
    "draft": PASS,
    "overhead_per_step_s": 1e-3,
    "draft_is_one_pass": True,
}


def test_prices_are_the_formula(tmp_path: Path) -> None:
    path = tmp_path / "my_gpu.json"
    path.write_text(json.dumps(GOOD))
    model = LinearLatency.from_file(path)
    seconds = model.predict_s(StepShape(Role.TARGET, 4, [4, 20], 1000))
    np.testing.assert_allclose(seconds, [1e-2 + 2e-5 * 4 + 4e-5, 1e-2 + 2e-5 * 20 + 4e-5], rtol=1e-12)
    assert (model.hardware, model.source, model.out_of_range) == ("my_gpu", "linear", "extrapolate")
    assert model.roles == {Role.TARGET, Role.DRAFT}
    assert model.overhead_per_step_s == 1e-3
    assert model.draft_is_one_pass


def test_a_target_alone_needs_no_word_about_the_draft() -> None:
    model = LinearLatency.from_json({"kind": "linear", "target": PASS, "overhead_per_step_s": 0}, "x")
    assert model.roles == {Role.TARGET}
    with pytest.raises(LatencyError, match="no step times for the companion"):
        model.predict_s(StepShape(Role.COMPANION, 1, 1, 1))


def without(*keys: str) -> str:
    return json.dumps({key: value for key, value in GOOD.items() if key not in keys})


def with_target(**changes: object) -> str:
    return json.dumps(GOOD | {"target": PASS | changes})


BAD_FILES = {
    "not JSON": ("{", "not valid JSON"),
    "empty": ("", "not valid JSON"),
    "binary": (b"\xff\xfe\x00", "not valid JSON"),
    "deep": ("[" * 100_000, "not valid JSON"),
    "a list": ("[1]", "must be a JSON object"),
    "no kind": (without("kind"), "kind"),
    "other kind": (json.dumps(GOOD | {"kind": "cubic"}), 'kind must be "linear", got "cubic"'),
    "no target": (without("target"), "target is missing"),
    "no overhead": (without("overhead_per_step_s"), "overhead_per_step_s is missing"),
    "no draft kind": (without("draft_is_one_pass"), "draft_is_one_pass is missing"),
    "draft kind": (json.dumps(GOOD | {"draft_is_one_pass": 1}), "draft_is_one_pass must not be 1"),
    "unknown key": (json.dumps(GOOD | {"drafts": PASS}), 'unknown key "drafts"'),
    "unknown coefficient": (with_target(fixed_ms=3), 'unknown key "fixed_ms" in target'),
    "missing coefficient": (json.dumps(GOOD | {"draft": {"fixed_s": 1}}), "draft.per_new_token_s is missing"),
    "target a number": (json.dumps(GOOD | {"target": 3}), "target must be a JSON object, got 3"),
    "NaN": (with_target(fixed_s=float("nan")), "NaN"),
    "Infinity": (with_target(fixed_s=float("inf")), "Infinity"),
    "infinite literal": (with_target().replace("0.01", "1e400", 1), "not valid JSON"),
    "huge integer": (with_target(fixed_s=10**400), "not valid JSON"),
    "longest integer": (with_target().replace("0.01", "1" * 10_000, 1), "not valid JSON"),
    "negative": (with_target(per_kv_token_s=-1e-9), "target.per_kv_token_s = -1e-09"),
    "string": (with_target(fixed_s="0.1"), 'target.fixed_s = "0.1"'),
    "boolean": (with_target(fixed_s=True), "target.fixed_s = true"),
    "null": (with_target(fixed_s=None), "target.fixed_s = null"),
    "newline in key": (json.dumps(GOOD | {"a\nb": 1}), r'unknown key "a\\nb"'),
    "no time": (with_target(fixed_s=0, per_new_token_s=1e-300), "expected at least 1e-06 s"),
    "twice": (json.dumps(GOOD)[:-1] + ', "kind": "linear"}', 'key "kind" appears twice'),
    "huge file": (" " * (MAX_SMALL_BYTES + 1), "larger than"),
}


@pytest.mark.parametrize("name", BAD_FILES)
def test_bad_files_get_one_line_naming_file_and_key(name: str, tmp_path: Path) -> None:
    content, message = BAD_FILES[name]
    path = tmp_path / "bad.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LatencyError, match=message) as caught:
        LinearLatency.from_file(path)
    assert "bad.json" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(path))


@pytest.mark.parametrize("path", ["absent.json", "."])
def test_absent_files_and_folders(path: str, tmp_path: Path) -> None:
    with pytest.raises(LatencyError, match=r"no such file|cannot be read"):
        LinearLatency.from_file(tmp_path / path)
