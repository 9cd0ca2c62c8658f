import json
import math

import numpy as np
import pytest

from rmtlib.claims import VERDICTS, ClaimError, Claims, Outcome, Untested, glue_texts, read_ledger

LEDGER = """
[x]
expected = 1.5
tolerance = 0.1
format = ".1f"

[y]
expected = 2.34
format = ".2f"

[count]
expected = 7
format = "d"

[word]
expected = "dense1"

[window]
expected = 15
format = "d"
paper = 15

[N1]
expected = {value = 48.3, error = 0.13}
tolerance = {value = 0.05, error = 0.02}
format = ".1f"
verdict = "inconclusive"

[C4]
expected = {large = 0.38, small = 0.51}
text = "mean p {large:.2f} at the large end, {small:.2f} at the small one"
verdict = "reproduced"

[C8]
expected = {}
verdict = "not reproduced"

[list]
expected = {gaps = "20.3 at α = 0.3, 5.4 at α = 0.5"}
text = "gaps: {gaps}"

[F1a3]
expected = {}
verdict = "not tested here"
format = ".2f"

[rest]
expected = {shown = 3, hidden = 1.0}
text = "{shown:d} levels"
verdict = "compatible"
"""


@pytest.fixture
def glued(monkeypatch):
    values = {}
    monkeypatch.setattr("rmtlib.claims.glue_texts", values.update)
    return values


@pytest.fixture
def book(tmp_path, monkeypatch):
    monkeypatch.delenv("RMTLIB_RECORD", raising=False)
    (tmp_path / "chapters").mkdir()
    (tmp_path / "paper.toml").write_text("[N1]\npaper = 50.4\n[F1a3]\npaper = 0.31\n")
    (tmp_path / "chapters" / "05_test.claims.toml").write_text(LEDGER)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def claims(book, glued):
    return Claims("05_test")


def test_a_number_within_tolerance_is_glued_in_the_format_of_the_ledger(claims, glued):
    claims.record(x=1.5999, y=np.float64(2.3449), count=np.int64(7), word="dense1", window=15)
    assert glued == {"x": "1.6", "y": "2.34", "count": "7", "word": "dense1", "window": "15", "window-paper": "15"}


def test_a_count_may_come_as_a_float(claims, glued):
    claims.record(count=7.0, rest=Outcome("compatible", shown=3.0, hidden=1.0))
    assert (glued["count"], glued["rest"]) == ("7", "3 levels")
    with pytest.raises(ClaimError, match="count cannot be shown: ValueError"):
        claims.record(count=7.5)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"x": 1.61}, r"05_test\.claims\.toml:2: x: computed 1\.61, but the book records 1\.5 with tolerance 0\.1"),
        ({"x": 1.39}, "x: computed 1.39, but"),
        ({"y": 2.351}, r"toml:7: y: computed 2\.351, but the book records 2\.34"),
        ({"count": 8}, "count: computed 8, but the book records 7"),
        ({"word": "dense2"}, "word: computed dense2, but the book records dense1"),
        ({"word": 3}, "word: computed 3, but the book records dense1"),
        ({"x": math.nan}, "x: computed nan"),
        ({"x": "1.5"}, "x: computed 1.5, but the book records 1.5"),
        ({"C8": True}, "C8: came out reproduced, but the book records not reproduced"),
        ({"C8": Outcome(False, p=0.1)}, "C8: has the numbers p, but the book records none"),
        ({"C4": Outcome("inconclusive", large=0.38, small=0.51)}, "C4: came out inconclusive, but the book records reproduced"),
        ({"C4": Outcome(True, large=0.40, small=0.51)}, "C4: large computed 0.4, but the book records 0.38"),
        ({"C4": Outcome(large=0.38, small=0.51)}, "C4: came out None, but the book records reproduced"),
        ({"N1": Outcome("inconclusive", value=48.3, error=0.16)}, "N1: error computed 0.16, but the book records 0.13"),
        ({"N1": 48.3}, "N1: came out None"),
        ({"list": Outcome(gaps="20.5 at α = 0.3, 5.4 at α = 0.5")}, "list: gaps computed 20.5 at"),
        ({"list": Outcome(gaps="20.3 at α = 0.3")}, "list: gaps computed 20.3 at"),
        ({"rest": Outcome("compatible", shown=3, hidden=1.002)}, "rest: hidden computed 1.002, but the book records 1"),
        ({"F1a3": True}, "F1a3: came out reproduced, but the book records not tested here"),
        ({"new_one": 1}, r"no entry \[new-one\], which a cell of 05_test\.md records: make record adds it"),
    ],
)
def test_what_the_ledger_contradicts_stops_the_chapter(claims, glued, found, message):
    with pytest.raises(ClaimError, match=message):
        claims.record(**found)
    assert glued == {}


def test_everything_that_is_wrong_is_told_at_once(claims):
    with pytest.raises(ClaimError, match=r"(?s)x: computed 9.*y: computed 9.*run with checked=False"):
        claims.record(x=9, y=9)


def test_by_default_one_unit_in_the_last_place_is_no_regression(claims, glued):
    claims.record(y=2.35, C4=Outcome(True, large=0.39, small=0.50), rest=Outcome("compatible", shown=3, hidden=1.0009))
    claims.record(list=Outcome(gaps="20.2 at α = 0.3, 5.5 at α = 0.5"))
    assert glued["C4"] == "mean p 0.39 at the large end, 0.50 at the small one"
    assert (glued["rest"], glued["rest-verdict"]) == ("3 levels", "compatible")


@pytest.mark.parametrize(
    ("entry", "expected", "inside", "outside"),
    [
        ('format = ".2f"', 2.34, 2.35, 2.3501),
        ('format = "+.2f"', 2.34, 2.33, 2.3299),
        ('format = ".0%"', 0.5, 0.51, 0.5101),
        ('format = ".1%"', 0.5, 0.501, 0.50101),
        ('format = ".3g"', 234.0, 235.0, 235.01),
        ('format = ".3g"', 0.0234, 0.0235, 0.02351),
        ('format = ".3g"', 0.0, 0.0, 0.02),
        ("", 2.34, 2.35, 2.3501),
        ('format = ".2e"', 1230.0, 1240.0, 1240.1),
        ('format = "d"', 7, 7, 8),
        ('format = "g"', 200.0, 200.2, 200.21),
        ('format = "G"', 200.0, 200.2, 200.21),
        ('format = ">8.2f"', 2.34, 2.34, 2.3401),
    ],
)
def test_the_last_place_is_that_of_the_format(book, glued, entry, expected, inside, outside):
    (book / "chapters" / "05_test.claims.toml").write_text(f"[x]\nexpected = {expected}\n{entry}\n")
    Claims("05_test").record(x=inside)
    with pytest.raises(ClaimError, match="but the book records"):
        Claims("05_test").record(x=outside)


@pytest.mark.parametrize(
    ("entry", "expected", "inside", "outside"),
    [
        # a number in a text has the format that it has there; value and error that of the entry
        ('text = "{p:.1f}"\nformat = ".3f"', {"p": 0.5}, {"p": 0.6}, {"p": 0.61}),
        ('text = "{p}"', {"p": 3}, {"p": 3}, {"p": 3.001}),
        ('format = ".2f"', {"p": 0.5}, {"p": 0.51}, {"p": 0.52}),
        ('text = "of {p:d}"\nformat = ".1f"', {"value": 48.3, "p": 2}, {"value": 48.4, "p": 2}, {"value": 48.41, "p": 2}),
        (
            'text = "some"\nformat = ".1f"',
            {"value": 1.0, "error": 0.2},
            {"value": 1.0, "error": 0.3},
            {"value": 1.0, "error": 0.31},
        ),
        ("", {"t": "gap −0.31"}, {"t": "gap −0.32"}, {"t": "gap −0.33"}),
        ("", {"t": "p = 1.5e-05"}, {"t": "p = 1.6e-05"}, {"t": "p = 1.7e-05"}),
    ],
)
def test_the_last_place_is_that_of_the_text(book, glued, entry, expected, inside, outside):
    table = ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in expected.items())
    (book / "chapters" / "05_test.claims.toml").write_text(f"[x]\nexpected = {{{table}}}\n{entry}\n")
    Claims("05_test").record(x=Outcome(**inside))
    with pytest.raises(ClaimError, match="but the book records"):
        Claims("05_test").record(x=Outcome(**outside))


def test_an_outcome_without_a_text_shows_its_numbers_and_words_by_name(book, glued):
    ledger = book / "chapters" / "05_test.claims.toml"
    ledger.write_text(
        '[x]\nexpected = {p = 0.5, where = "dense1"}\nformat = ".2f"\n[y]\nverdict = "reproduced"\n[z]\nexpected = 2e-7\n'
    )
    Claims("05_test").record(x=Outcome(p=0.5, where="dense1"), y=True, z=2e-7)
    assert glued == {"x": "p 0.50, where dense1", "y-verdict": "reproduced", "z": "2e-07"}


def test_numbers_that_are_none_are_told_by_name(book, glued, claims):
    with pytest.raises(ClaimError, match=r"(?s)x: computed nan\n.*C4: computed inf for small\n"):
        claims.record(x=math.nan, C4=Outcome(True, large=0.38, small=math.inf))


def test_all_kinds_of_faults_are_told_together(claims):
    with pytest.raises(ClaimError) as raised:
        claims.record(nothing=1, C4=Outcome(True, large=0.38), C8=Outcome(False, p=0.1), N1=Outcome("inconclusive"), x=1.23456789)
    lines = str(raised.value).splitlines()
    line = {entry: LEDGER.splitlines().index(f"[{entry}]") + 1 for entry in ("C4", "C8", "N1", "x")}
    assert [text.rpartition("/05_test.claims.toml:")[2] for text in lines[1:-1]] == [
        f"{line['C4']}: C4 cannot be shown: KeyError: 'small'",
        f"{line['C8']}: C8: has the numbers p, but the book records none",
        f"{line['N1']}: N1: has the numbers none, but the book records value, error",
        f"{line['x']}: x: computed 1.23457, but the book records 1.5 with tolerance 0.1",
    ]
    assert "no entry [nothing]" in lines[0]
    assert lines[-1] == "with parameters of your own, run with checked=False"


def test_texts_are_pasted_under_their_keys_without_showing_them(monkeypatch):
    calls = []
    monkeypatch.setattr("myst_nb.glue", lambda *arguments, **options: calls.append((arguments, options)))
    glue_texts({"x": "1.6", "y": "−2"})
    assert calls == [(("x", "1.6"), {"display": False}), (("y", "−2"), {"display": False})]


def test_an_outcome_glues_its_text_its_verdict_and_the_papers_value(claims, glued):
    claims.record(N1=Outcome("inconclusive", value=48.31, error=0.128), C8=np.bool_(False), F1a3=Untested("make it"))
    assert glued == {
        "N1": "48.3",
        "N1-error": "0.1",
        "N1-paper": "50.4",
        "N1-verdict": "inconclusive",
        "C8-verdict": "not reproduced",
        "F1a3": "make it",
        "F1a3-paper": "0.31",
        "F1a3-verdict": "not tested here",
    }


def test_numbers_below_zero_get_a_minus_sign_and_words_keep_their_hyphens(book, glued):
    file = book / "chapters" / "05_test.claims.toml"
    words = "gains -.5 (3-4), left-handed, p = 1e-5"
    file.write_text(f'[a]\nexpected = -1.25\nformat = ".2f"\n[b]\nexpected = {{t = "{words}"}}\ntext = "{{t}}"\n')
    Claims("05_test").record(a=-1.25, b=Outcome(t=words))
    assert (glued["a"], glued["b"]) == ("−1.25", "gains −.5 (3-4), left-handed, p = 1e-5")


def test_parameters_of_the_readers_own_are_glued_unchecked(book, glued):
    Claims("05_test", checked=False).record(x=7.0, C4=Outcome(False, large=0.1, small=0.2), word="dense9")
    assert (glued["x"], glued["C4-verdict"], glued["word"]) == ("7.0", "not reproduced", "dense9")
    with pytest.raises(ClaimError, match="x: computed inf"):
        Claims("05_test", checked=False).record(x=math.inf)
    with pytest.raises(ClaimError, match=r"no entry \[nothing\]"):
        Claims("05_test", checked=False).record(nothing=1)


def test_a_text_that_asks_for_a_number_that_is_not_there_is_told_with_its_place(claims):
    with pytest.raises(ClaimError, match=r"claims\.toml:29: C4 cannot be shown: KeyError: 'small'"):
        claims.record(C4=Outcome(True, large=0.38))


@pytest.mark.parametrize("folder", ["", "chapters", "_ci"])
def test_the_ledger_is_found_from_where_chapters_run(book, glued, folder, monkeypatch):
    (book / folder).mkdir(exist_ok=True)
    monkeypatch.chdir(book / folder)
    Claims("05_test").record(x=1.5)
    assert glued == {"x": "1.5"}


def test_a_chapter_without_a_ledger_is_refused(book):
    with pytest.raises(ClaimError, match=r"there is no 06_other\.claims\.toml in .*, above it, or in a folder chapters there"):
        Claims("06_other")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[x]\nexpcted = 1\n", r"claims\.toml:1: x: unknown expcted; known are expected, .*verdict"),
        ("\n[C1]\nverdict = 'true'\n", r"claims\.toml:2: C1: verdict must be one of reproduced, .*; got 'true'"),
        ("x = 1\n", r"05_test\.claims\.toml: x: no table"),
        ('["C1"]\nverdict = "true"\n', r"claims\.toml:1: C1: verdict must be"),
        ('\n  [C1]\n  verdict = "true"\n', r"claims\.toml:2: C1: verdict must be"),
        ("[x\n", r"claims\.toml: .*"),
    ],
)
def test_a_malformed_ledger_is_refused_with_its_line(tmp_path, text, message):
    file = tmp_path / "05_test.claims.toml"
    file.write_text(text)
    with pytest.raises(ClaimError, match=message):
        read_ledger(file)


def test_a_verdict_outside_the_vocabulary_is_refused():
    assert [Outcome(word).verdict for word in VERDICTS] == list(VERDICTS)
    with pytest.raises(ValueError, match="verdict must be one of reproduced, not reproduced, .*; got 'true'"):
        Outcome("true")


def test_a_claim_without_a_command_is_refused():
    with pytest.raises(ClaimError, match="needs the command that tests it"):
        Untested(" ")


def test_a_word_does_not_pass_for_false(book):
    with pytest.raises(ValueError, match="checked must be True or False; got 'false'"):
        Claims("05_test", "false")


def test_recording_writes_what_was_found_and_compares_nothing(book, glued, monkeypatch):
    monkeypatch.setenv("RMTLIB_RECORD", str(book))
    claims = Claims("05_test")
    claims.record(x=9.0, C4=Outcome(False, large=0.1, small=0.2))
    Claims("05_test", checked=False).record(brand_new=Outcome(True, n=np.int64(3)), F1a3=Untested("make it"))
    assert json.loads((book / "05_test.json").read_text()) == {
        "x": {"expected": 9.0},
        "C4": {"expected": {"large": 0.1, "small": 0.2}, "verdict": "not reproduced"},
        "brand-new": {"expected": {"n": 3}, "verdict": "reproduced"},
        "F1a3": {"expected": {}, "verdict": "not tested here"},
    }
