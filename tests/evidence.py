"""Numbers of rich, typical and lazy networks whose verdicts are known."""

import numpy as np
import pandas as pd

from studies import sentences
from studies.regimes import REGIMES, Evidence

ENDS = [f"{space}_{end}" for space in ("output", "input") for end in ("large", "small")]


def networks(seeds=5, **changes):
    """Evidence in which the paper's picture holds; ``changes`` are numbers that differ, as in ``lazy={"sigma": 2}``."""
    rng, rows = np.random.default_rng(0), {}
    picture = {
        "rich": {"output_large": 0.1, "output_small": 0.2, "outliers": 60, "outliers_biwhitened": 50, "accuracy": 52.7, "gap": 5},
        "typical": {"output_large": 0.2, "outliers": 8, "outliers_biwhitened": 6, "accuracy": 55.2, "gap": 2},
        "lazy": {"accuracy": 50.4, "gap": 0.5},
    }
    for regime in REGIMES:
        own = {"outliers": 0, "outliers_biwhitened": 0, "sigma": 1.0, "long_variance": 0.8, "variance_ratio": 1.0}
        own |= dict.fromkeys(ENDS, 0.5) | picture[regime] | changes.get(regime, {})
        own |= {"outliers_low": own["outliers"], "outliers_high": own["outliers"] + 3, "outliers_profile": 0}
        own |= {f"{end}_biwhitened": own.get(f"{end}_biwhitened", own[end]) for end in ENDS} | {
            f"{end}_31": own[end] for end in ENDS
        }
        for seed in range(seeds):
            scattered = {"sigma": 0.001, "long_variance": 0.01, "accuracy": 0.1, "gap": 0.1}
            rows[regime, seed] = own | {name: own[name] + rng.normal(0, sd) for name, sd in scattered.items()}
    table = pd.DataFrame(rows).T.rename_axis(["regime", "seed"])
    accuracy, gaps = table.pop("accuracy"), table.pop("gap")
    return Evidence(table, pd.DataFrame({"sigma": 1.0}, index=range(seeds)), accuracy, gaps)


def words(found, **options):
    return {id: outcome.verdict for id, outcome in sentences.judge(found, **options).items()}
