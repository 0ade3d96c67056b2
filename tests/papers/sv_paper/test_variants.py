"""Figure 4: what its numbers say by themselves, and that the calibration reads two variants only."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from svsim.papers.sv_paper.published import sv_paper
from svsim.papers.sv_paper.step_times import fit_step_times
from svsim.papers.sv_paper.variants import CALIBRATION_VARIANTS, VariantsResult, predict_variants


@pytest.fixture(scope="module")
def fits():
    return [SimpleNamespace(panel=panel, fit=fit_step_times(panel)) for panel in sv_paper().panels]


@pytest.fixture(scope="module")
def result(fits) -> VariantsResult:
    return predict_variants(sv_paper().variants, fits)


def test_accuracy_is_accepted_over_verified(result: VariantsResult) -> None:
    """EAGLE-3's chain is of fixed length 5: accept length over accuracy must be 5."""
    eagle = next(i for i in result.implied if i.variant == "eagle")
    assert eagle.mean_verification_length == pytest.approx(5.0, rel=0.03)


def test_only_two_variants_at_draft_5_are_read(fits, result: VariantsResult) -> None:
    figure = sv_paper().variants

    def spoilt(values):
        return {v: x if v in CALIBRATION_VARIANTS else 0.5 * x for v, x in values.items()}

    bars = tuple(
        b if b.method in {f"{v}:k=5" for v in CALIBRATION_VARIANTS} else replace(b, tok_s=7.0)
        for b in figure.bars
    )
    other = replace(
        figure,
        bars=bars,
        accept_length=spoilt(figure.accept_length),
        prediction_accuracy=spoilt(figure.prediction_accuracy),
    )
    again = predict_variants(other, fits)
    assert [p.tok_s for p in again.serial] == [p.tok_s for p in result.serial]
    assert [p.tok_s for p in again.overlapped] == [p.tok_s for p in result.overlapped]


def test_overlap_moves_sv_alone(result: VariantsResult) -> None:
    for serial, overlapped in zip(result.serial, result.overlapped, strict=True):
        if serial.variant == "sv":
            assert overlapped.tok_s > serial.tok_s
        else:
            assert overlapped.tok_s == serial.tok_s
