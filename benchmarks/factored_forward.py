"""Time of a factored layer, x -> left @ (right @ x), and of a pruned one against the dense layer, side by side in one run.

Usage: python benchmarks/factored_forward.py [--rounds 15] [--output TABLE.csv]

One thread, float32 in torch, layers of the book without biases. The columns are shares of the numbers of the matrix that are
kept, in two factors or as the entries of a sparse matrix (compressed rows, at random places), and so are the shares of its
multiply-adds: 1/4 should be 4 times faster. In every round all candidates of a layer and a batch take turns, each as often as
fills a few milliseconds. The table shows the time of the dense layer, and how many times faster the others are: median over the
rounds, and the least and the largest value in brackets. Times are processor times, in which other programs do not count. Only the
ratios mean anything on another machine. With --output they are also written as a table, one row a candidate.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse
import torch
from torch.nn.functional import linear

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rounds", type=int, default=15)
parser.add_argument("--output", type=Path)
arguments = parser.parse_args()
torch.set_num_threads(1)

LAYERS = ((512, 3072), (512, 512), (1024, 3072), (512, 1024), (1024, 1024))
BATCHES = (1, 32, 1000)
SHARES = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
FILL = 0.005  # seconds of a candidate in a round


def seconds_of(call, count):
    start = time.process_time()
    for _ in range(count):
        call()
    return (time.process_time() - start) / count


@torch.inference_mode()
def times_faster(dense, others):
    """Seconds of the dense layer, and of what it takes relative to each of the others, by round."""
    calls = [dense, *others]
    counts = [max(1, round(FILL / max(seconds_of(call, 3), 1e-7))) for call in calls]
    times = np.array([[seconds_of(*pair) for pair in zip(calls, counts, strict=True)] for _ in range(arguments.rounds)])
    return times[:, 0], times[:, :1] / times[:, 1:]


def factored(x, share, shape):
    rank = int(share * shape[0] * shape[1] / sum(shape))
    left, right = torch.randn(shape[0], rank), torch.randn(rank, shape[1])
    return lambda: linear(linear(x, right), left)


def pruned(x, share, shape):
    W = scipy.sparse.random(*shape, density=share, format="csr", dtype=np.float32, random_state=0)
    columns = np.ascontiguousarray(x.numpy().T)
    return lambda: W @ columns


torch.manual_seed(0)
rows = []
print(f"{arguments.rounds} rounds: times faster than the dense layer, median [least, largest]\n")
print(f"{'layer':>11} {'batch':>5} {'dense':>9}  {'':<8}", *(f"{f'share 1/{round(1 / share)}':>20}" for share in SHARES))
for shape in LAYERS:
    W = torch.randn(shape)
    for batch in BATCHES:
        x = torch.randn(batch, shape[1])
        others = [make(x, share, shape) for make in (factored, pruned) for share in SHARES]
        dense, ratios = times_faster(lambda x=x, W=W: linear(x, W), others)
        for (kind, share), ratio in zip(((k, s) for k in ("factored", "pruned") for s in SHARES), ratios.T, strict=True):
            row = {"n_out": shape[0], "n_in": shape[1], "batch": batch, "kind": kind, "share": share, "rounds": len(ratio)}
            rows.append(row | {"times_faster": np.median(ratio), "least": ratio.min(), "largest": ratio.max()})
        cells = [f"{np.median(ratio):>7.2f} [{ratio.min():.2f}, {ratio.max():.2f}]" for ratio in ratios.T]
        head = f"{f'{shape[0]} x {shape[1]}':>11} {batch:>5} {f'{1e6 * np.median(dense):.0f} us':>9}"
        print(f"{head}  {'factored':<8}", *(f"{cell:>20}" for cell in cells[: len(SHARES)]))
        print(f"{'':{len(head)}}  {'pruned':<8}", *(f"{cell:>20}" for cell in cells[len(SHARES) :]), flush=True)
if arguments.output:
    pd.DataFrame(rows).to_csv(arguments.output, index=False, float_format="%.4g")
