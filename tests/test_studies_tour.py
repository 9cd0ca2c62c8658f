"""What the book says of a scan, from a made-up one."""

import numpy as np
import pandas as pd

from studies import tour


def test_the_sentences_come_from_the_table():
    table = pd.DataFrame(
        {
            "layer": ["f/block1_conv2_1/w", "f/block3_conv1_1/w", "head"],
            "snr": [0.5, 7.0, 0.2],
            "spectrum_snr_noise": [np.inf, 3.0, np.inf],
        }
    )
    found = tour.outcomes(table)
    assert tuple(found) == tour.IDS == tuple(tour.missing())
    assert (found["vgg-layers"], found["vgg-all-signal"]) == (3, 2)
    assert (found["vgg-snr-largest"], found["vgg-snr-largest-layer"]) == (7.0, "block3_conv1")
    assert (found["vgg-snr-smallest"], found["vgg-snr-smallest-layer"]) == (0.2, "head")
