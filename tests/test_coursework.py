"""The assignments without nbgrader: hidden tests accept every catalogued right answer and reject every wrong one."""

import ast
import re
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "coursework"))
import notebooks  # noqa: E402

sys.path.pop(0)

ASSIGNMENTS = [notebooks.read(name) for name in notebooks.names()]
RIGHT = [(assignment, answer) for assignment in ASSIGNMENTS for answer in assignment.answers() if answer.right]
WRONG = [(assignment, answer) for assignment in ASSIGNMENTS for answer in assignment.answers() if not answer.right]


def named(pairs):
    return [pytest.param(*pair, id=f"{pair[0].name}: {pair[1].name}") for pair in pairs]


def of_assignments():
    return pytest.mark.parametrize("assignment", ASSIGNMENTS, ids=[assignment.name for assignment in ASSIGNMENTS])


def failures(assignment, answer=None):
    """What each failed test raised. Only the student's functions are there, as when an assignment is graded."""
    namespace = assignment.namespace(answer)
    functions = {name: namespace[name] for name in assignment.functions}
    raised = {grade_id: notebooks.run_test(test, functions) for grade_id, test in assignment.tests.items()}
    return {grade_id: error for grade_id, error in raised.items() if error is not None}


def visible(test):
    return re.sub(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS", "", test, flags=re.DOTALL)


def test_there_is_an_assignment_for_each_test_of_the_paper_and_of_the_unfolding():
    assert notebooks.names() == ["marchenko_pastur", "number_variance", "porter_thomas", "spacings", "unfolding"]


@of_assignments()
def test_the_reference_solution_passes_within_a_quarter_of_the_time(assignment):
    start = time.process_time()
    assert failures(assignment) == {}
    assert time.process_time() - start < 30


@pytest.mark.parametrize(("assignment", "answer"), named(RIGHT))
def test_another_right_answer_is_accepted(assignment, answer):
    assert set(answer.functions) & set(assignment.functions)
    assert failures(assignment, answer) == {}


@pytest.mark.parametrize(("assignment", "answer"), named(WRONG))
def test_a_wrong_answer_is_rejected_by_a_hidden_test_with_words(assignment, answer):
    assert set(answer.functions) <= set(assignment.functions)
    raised = failures(assignment, answer)
    assert raised
    assert all(isinstance(error, AssertionError) and str(error) for error in raised.values()), raised
    hidden = {grade_id for grade_id in raised if "HIDDEN" in assignment.tests[grade_id]}
    functions = assignment.namespace(answer)
    passed = {grade_id for grade_id in hidden if notebooks.run_test(visible(assignment.tests[grade_id]), functions) is None}
    assert passed, "the visible checks alone reject it"


@of_assignments()
def test_an_assignment_has_ten_points_with_a_visible_check_and_hidden_tests(assignment):
    assert sum(assignment.points.values()) == 10
    checks = [test for test in assignment.tests.values() if "assert" in visible(test)]
    hidden = [test for test in assignment.tests.values() if visible(test) != test]
    assert checks
    assert len(hidden) >= 3
    for grade_id, test in assignment.tests.items():
        assert test.count("BEGIN HIDDEN TESTS") == test.count("END HIDDEN TESTS") <= 1, grade_id


@of_assignments()
def test_every_failure_has_words(assignment):
    for test in assignment.tests.values():
        asserts = [node for node in ast.walk(ast.parse(test)) if isinstance(node, ast.Assert)]
        assert [ast.unparse(node) for node in asserts if node.msg is None] == []


@of_assignments()
def test_cells_have_names_that_are_strings_and_unique(assignment):
    ids = [notebooks.metadata(cell)["grade_id"] for cell in assignment.notebook.cells if notebooks.metadata(cell)]
    assert all(isinstance(grade_id, str) for grade_id in ids)
    assert len(set(ids)) == len(ids) == len(assignment.solutions) + len(assignment.tests)


@of_assignments()
def test_solutions_are_between_marks(assignment):
    for code in assignment.solutions.values():
        assert code.count("### BEGIN SOLUTION") == code.count("### END SOLUTION") == len(notebooks.functions(code))


@of_assignments()
def test_an_assignment_needs_no_data_and_no_path(assignment):
    code = "\n".join(cell.source for cell in assignment.notebook.cells)
    assert not re.search(r"load_run|load_weights|open\(|Path|torch|\bread_|\.csv", code)


def test_the_common_mistakes_are_in_the_catalogue():
    catalogue = " | ".join(answer.name for _, answer in WRONG)
    mistakes = ["forgot to sort", "forgot to unfold", "sigma instead of sigma squared", "level-centred windows"]
    mistakes.append("one-sided spectrum")
    assert [mistake for mistake in mistakes if mistake not in catalogue] == []


@of_assignments()
def test_a_notebook_asks_for_the_kernel_that_everybody_has(assignment):
    assert assignment.notebook.metadata.kernelspec == {"name": "python3", "display_name": "Python 3", "language": "python"}
