import math

import pytest

from rmtlib.claims import ClaimError, Claims


@pytest.fixture
def glued(monkeypatch):
    values = {}
    monkeypatch.setattr("rmtlib.claims.glue_texts", values.update)
    return values


def test_a_number_within_tolerance_is_glued_with_its_format(glued):
    claim = Claims().number("N1", 50.44, expected=50.4, tolerance=0.1, error=0.2, paper=50.4, within=1, fmt=".1f")
    assert glued == {"N1": "50.4", "N1-error": "0.2", "N1-paper": "50.4", "N1-verdict": "reproduced"}
    assert claim.verdict == "reproduced"


def test_a_number_far_from_the_paper_is_not_reproduced(glued):
    assert Claims().number("N1", 45.0, expected=45, tolerance=0.1, paper=50.4, within=1).verdict == "not reproduced"


def test_a_number_that_the_paper_does_not_give_has_no_verdict(glued):
    assert Claims().number("x", 1.0, expected=1, tolerance=0).verdict is None
    assert glued == {"x": "1"}


def test_numbers_below_zero_get_a_minus_sign_and_words_keep_their_hyphens(glued):
    Claims().number("x", -1.25, expected=-1.25, tolerance=0, fmt=".2f")
    Claims().number("tiny", 1e-5, expected=1e-5, tolerance=0, fmt=".0e")
    Claims().statement("y", True, expected=True, evidence="gains -.5 (-1.2 of 3-4), left-handed, p = 1e-5")
    assert (glued["x"], glued["tiny"], glued["y"]) == ("−1.25", "1e-05", "gains −.5 (−1.2 of 3-4), left-handed, p = 1e-5")


@pytest.mark.parametrize("value", [1.2, 0.8])
def test_a_regression_stops_the_chapter(glued, value):
    with pytest.raises(ClaimError, match=r"x: computed .* but the book records 1 with tolerance 0.1; .* checked=False"):
        Claims().number("x", value, expected=1, tolerance=0.1)
    assert glued == {}


@pytest.mark.parametrize("checked", [True, False])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_number_that_is_not_finite_is_refused_always(glued, value, checked):
    with pytest.raises(ClaimError, match="x: computed (nan|inf)"):
        Claims(checked).number("x", value, expected=1, tolerance=math.inf)


def test_a_statement_that_comes_out_otherwise_stops_the_chapter(glued):
    with pytest.raises(ClaimError, match="C1: came out False, but the book records True"):
        Claims().statement("C1", False, expected=True, evidence="p = 0.01")


def test_a_statement_that_fails_as_recorded_is_not_reproduced(glued):
    assert Claims().statement("C8", False, expected=False, evidence="e").verdict == "not reproduced"
    assert glued == {"C8": "e", "C8-verdict": "not reproduced"}


@pytest.mark.parametrize("checked", [True, False])
def test_a_claim_that_is_not_tested_here_says_how_to_test_it(glued, checked):
    claim = Claims(checked).untested("F1a3", "make it", paper=0.31, fmt=".2f")
    assert glued == {"F1a3": "–", "F1a3-paper": "0.31", "F1a3-verdict": "not tested here (make it)"}
    assert (claim.ours, claim.paper, claim.verdict) == ("–", 0.31, "not tested here (make it)")


def test_a_claim_that_is_not_tested_here_may_have_no_number_in_the_paper(glued):
    assert Claims().untested("F2c", "make it").paper is None
    assert glued == {"F2c": "–", "F2c-verdict": "not tested here (make it)"}


def test_a_claim_without_a_command_is_refused(glued):
    with pytest.raises(ClaimError, match="F2c: a claim that is not tested here needs the command that tests it"):
        Claims().untested("F2c", " ")
    assert glued == {}


def test_parameters_of_the_readers_own_are_glued_unchecked(glued):
    Claims(checked=False).number("x", 7.0, expected=1, tolerance=0)
    Claims(checked=False).statement("C1", False, expected=True, evidence="e")
    assert glued == {"x": "7", "C1": "e", "C1-verdict": "not reproduced"}


def test_a_word_does_not_pass_for_false():
    with pytest.raises(ValueError, match="checked must be True or False; got 'false'"):
        Claims("false")
