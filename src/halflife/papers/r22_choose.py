"""How the settings of the reproduction of FPF were chosen: on training pictures held out, on a seed of its own.

    python -m halflife.papers.r22_choose

Hosts and controls are searched first; the rate of the fine-tuning after each host on copies of the best of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from halflife.continual import ER, DERpp, GDumb, Method
from halflife.continual.finetuning import fpf
from halflife.continual.seeds import generator
from halflife.papers.r22_learners import AtEnd, Keeper, Shelf, Watched
from halflife.papers.r22_parts import AMOUNTS, Amount, Setting, k_fpf, members, one_run, streams, tested

T = TypeVar("T")
SEED = 9_999
RATES = (0.02, 0.05, 0.1, 0.2)  # of hosts and controls
FINE = (0.03, 0.1, 0.3, 1.0)  # of FPF
FROZEN = (0.01, 0.03, 0.003)  # of hidden layers alone
DARK = (
    (0.1, 0.1, 0.5),
    (0.1, 0.1, 1.0),
    (0.1, 0.3, 1.0),
    (0.05, 0.1, 1.0),
    (0.2, 0.3, 1.0),
)  # of DER++: lr, alpha, beta
TWO = ((0.02, 0.1), (0.02, 0.3), (0.05, 0.1), (0.05, 0.3), (0.1, 0.1))  # of k-FPF: lr of SGD and of FPF
KD = (0.1, 0.3)


def choose(amount: Amount, say: Callable[[str], None] = print) -> Setting:
    """The best settings by the final accuracy on a fifth of the training pictures, which no run trains on."""
    scenario = streams(amount)[0].validation(0.2)

    def best(what: str, values: Sequence[T], score: Callable[[T], float]) -> T:
        scores = [score(value) for value in values]
        say(f"{what}: " + ", ".join(f"{value} {s:.3f}" for value, s in zip(values, scores, strict=True)))
        return max(zip(values, scores, strict=True), key=lambda pair: pair[1])[0]

    def host(what: str, values: Sequence[T], make: Callable[[T], Method]) -> tuple[T, float, float]:
        kept: dict[T, Method] = {}

        def score(value: T) -> float:
            shelf = Shelf()
            results = one_run(amount, scenario, Watched(make(value), shelf), SEED)
            kept[value] = shelf.learner
            return results["accuracy"][0]

        found = best(what, values, score)

        def fitted(lr: float, which: str) -> float:
            model = copy.deepcopy(kept[found].model)
            buffer = kept[found].buffer  # type: ignore[attr-defined]
            groups = members(model, which)
            fpf(model, buffer, groups, amount.steps, lr, batch_size=amount.batch_size, generator=generator(SEED, "fpf"))
            return tested(scenario, model, SEED, amount.device)

        rate = best(f"FPF after {what}", FINE, lambda lr: fitted(lr, "norm + head"))
        hidden = best(f"hidden layers after {what}", FROZEN, lambda lr: fitted(lr, "hidden")) if what == "ER" else 0.0
        return found, rate, hidden

    room: Mapping[str, Any] = {"capacity": amount.capacity}
    sgd, after_sgd, _ = host("SGD", RATES, lambda lr: Keeper(lr=lr, **room))
    er, after_er, frozen_norm = host("ER", RATES, lambda lr: ER(lr=lr, **room))
    dark, after_dark, _ = host("DER++", DARK, lambda v: DERpp(lr=v[0], alpha=v[1], beta=v[2], **room))
    gdumb = best("GDumb", RATES, lambda lr: one_run(
        amount, scenario, AtEnd(GDumb(lr=lr, passes=amount.passes, **room)), SEED)["accuracy"][0])  # fmt: skip

    def k_score(setting: Setting, kd: float) -> float:
        changed = replace(amount, setting=setting)
        return one_run(changed, scenario, k_fpf(changed, amount.ks[-1], kd), SEED)["accuracy"][0]

    setting = Setting(sgd=sgd, er=er, derpp=dark[0], gdumb=gdumb, alpha=dark[1], beta=dark[2],
                      fpf={"SGD": after_sgd, "ER": after_er, "DER++": after_dark}, frozen_norm=frozen_norm)  # fmt: skip
    rates = best("k-FPF", TWO, lambda v: k_score(replace(setting, k_sgd=v[0], k_fpf=v[1]), 0.0))
    setting = replace(setting, k_sgd=rates[0], k_fpf=rates[1])
    return replace(setting, kd=best("k-FPF + KD", KD, lambda kd: k_score(setting, kd)))


if __name__ == "__main__":
    print(choose(AMOUNTS["cpu"]))
