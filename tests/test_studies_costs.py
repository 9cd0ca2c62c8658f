"""Seconds of the analysis."""

import time

import pandas as pd

from studies import costs


def test_the_best_of_three_counts_and_waiting_does_not():
    waits = iter([0.0, 0.0, 0.2])

    def call(busy):
        time.sleep(0.05)
        end = time.process_time() + next(waits)
        while time.process_time() < end:
            pass
        return busy

    assert costs.processor_seconds(call, 1) < 0.04
    assert next(waits, None) is None


def test_a_row_for_each_size_and_the_whole_takes_longer_than_its_part():
    table = costs.measure([80, 100], seed=1)
    assert table.index.tolist() == [80, 100]
    assert (0 < table["decomposition"]).all()
    assert (table["decomposition"] < table["whole analysis"]).all()


def test_what_takes_most_of_the_time_is_told_of_the_ends():
    def verdicts(*decomposition):
        table = pd.DataFrame({"decomposition": decomposition, "whole analysis": [10.0, 10.0, 10.0]}, [64, 128, 256])
        found = costs.outcomes(table)
        assert found["decomposition-dominates"].numbers == {"m": 256}
        assert found["statistics-dominate"].numbers == {"m": 64}
        return [outcome.verdict for outcome in found.values()]

    assert verdicts(4.0, 9.0, 6.0) == ["reproduced"] * 2
    assert verdicts(6.0, 1.0, 4.0) == ["not reproduced"] * 2
