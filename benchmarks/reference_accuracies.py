"""Split-MNIST class-incremental, as in the line of papers around DER: do ER and DER++ reach the accuracies known?

The network (MLP 2 x 100), data (60,000 pictures, 5 tasks), batch (10), one epoch and the settings for a buffer of 200
are those of that line; classes come in the order 0 .. 9, as there. The reference figures are those of the DER paper's
table, 80.4 and 85.6, and stand there without a spread over seeds.

    python reference_accuracies.py --seeds 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import warnings
from pathlib import Path

import torch

from halflife.continual import AGEM, DER, ER, DERpp, Joint, Learner, Naive, class_incremental, load, run

METHODS: dict[str, tuple[Learner, float]] = {
    "SGD": (Naive(lr=0.03), 0.196),
    "joint": (Joint(lr=0.03), 0.956),
    "ER": (ER(capacity=200, lr=0.01, minibatch=10), 0.804),
    "A-GEM": (AGEM(capacity=200, lr=0.1, minibatch=128), 0.457),
    "DER": (DER(capacity=200, lr=0.03, minibatch=10, alpha=0.2), 0.846),
    "DER++": (DERpp(capacity=200, lr=0.03, minibatch=128, alpha=0.2, beta=1.0), 0.856),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--methods", default="SGD,joint,ER,DER,DER++,A-GEM")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    scenario = class_incremental(load("mnist"), shuffle=False)
    rows = {}
    print("| method | accuracy | reference | difference in standard deviations of one run |")
    print("|---|---:|---:|---:|", flush=True)
    for name in args.methods.split(","):
        method, reference = METHODS[name]
        values = run(scenario, method, args.seeds, model="mlp:100,100", batch_size=10)["accuracy"]
        mean, sd = statistics.fmean(values), statistics.stdev(values)
        rows[name] = {"accuracy": values, "reference": reference}
        print(f"| {name} | {mean:.3f} ± {sd:.3f} | {reference:.3f} | {(mean - reference) / sd:+.1f} |", flush=True)
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
