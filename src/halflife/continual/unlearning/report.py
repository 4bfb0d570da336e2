"""How well a model has forgotten, and what it still knows: accuracy, a membership attack, and distance to ignorance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from halflife.continual import metrics
from halflife.continual.examples import Examples
from halflife.continual.unlearning.training import fresh_like
from halflife.errors import InvalidInput, MissingExtra

BATCH = 1024  # examples of one forward pass


@dataclass(frozen=True)
class UnlearningReport:
    """What a model knows after unlearning.

    Parameters
    ----------
    retain, forget: accuracy on tests of what stays and of what is forgotten. mia: share of the forgotten training
        examples that a membership attack takes for training examples. zrf: 1 minus the Jensen-Shannon divergence (in
        bits) from a network that was never trained, on what is forgotten; 1 is ignorance.
    seconds: that the unlearning took, if it was told. retrained: the same of a model that never saw what is forgotten:
        the values to reach. Zero is not the value to reach.
    """

    retain: float
    forget: float
    mia: float
    zrf: float
    seconds: float | None = None
    retrained: UnlearningReport | None = None

    @property
    def gaps(self) -> dict[str, float]:
        """Differences from the retrained model (without one: none), by the name of the measure."""
        if self.retrained is None:
            return {}
        return {
            name: getattr(self, name) - getattr(self.retrained, name) for name in ("retain", "forget", "mia", "zrf")
        }

    def h_mean(self, before: UnlearningReport) -> float:
        """Harmonic mean of the accuracy kept and the accuracy dropped since another report: for whole classes."""
        return metrics.h_mean(self.retain, max(0.0, before.forget - self.forget))


def unlearning_report(
    model: nn.Module,
    retain: Examples,
    forget: Examples,
    test: Examples,
    *,
    retrained: nn.Module | None = None,
    retain_test: Examples | None = None,
    forget_test: Examples | None = None,
    teacher: nn.Module | None = None,
    seconds: float | None = None,
    seed: int = 0,
) -> UnlearningReport:
    """Measure a model that has forgotten.

    Parameters
    ----------
    retain, forget: the training examples that stay and that were to be forgotten. test: held-out examples of all.
    retrained: a model that was trained on `retain` alone; its values are reported beside.
    retain_test, forget_test: what accuracy is measured on, for a part of a class (sub-class forgetting). By default,
        if whole classes were forgotten: the tests of the other classes and of those; if not: all tests, and the
        forgotten training examples themselves.
    teacher: the untrained network of ZRF; None makes one, drawn from `seed`.

    Raises
    ------
    InvalidInput: some but not all of the forgotten examples are of classes that went whole, or a set is empty.
    MissingExtra: scikit-learn is not installed.

    >>> from halflife.continual import MLP, load
    >>> data = load("digits")
    >>> model = MLP((16,)).build(data.shape, data.n_classes)
    >>> found = unlearning_report(model, data.train.of(range(9)), data.train.of([9]), data.test, teacher=model)
    >>> found.zrf, found.retain < 0.5
    (1.0, True)
    """
    device = next(model.parameters()).device
    if (retain_test is None) != (forget_test is None):
        raise InvalidInput("Only one of retain_test and forget_test was given.", "Give both, or neither.")
    if retain_test is None or forget_test is None:
        retain_test, forget_test = _tests(retain, forget, test)
    teacher = fresh_like(model, seed) if teacher is None else teacher

    def of(one: nn.Module, seconds: float | None, beside: UnlearningReport | None) -> UnlearningReport:
        return UnlearningReport(
            accuracy(one, retain_test), accuracy(one, forget_test), membership(one, retain, forget, test),
            ignorance(one, teacher.to(device), forget_test), seconds, beside,
        )  # fmt: skip

    return of(model, seconds, None if retrained is None else of(retrained, None, None))


def _tests(retain: Examples, forget: Examples, test: Examples) -> tuple[Examples, Examples]:
    gone = [c for c in forget.classes if c not in retain.classes]
    if not gone:
        return test, forget
    if len(gone) < len(forget.classes):
        raise InvalidInput(
            "Some classes are forgotten whole and others in part.", "Say what to test on: retain_test and forget_test."
        )
    return test.of([c for c in test.classes if c not in gone]), test.of(gone)


@torch.no_grad()
def logits(model: nn.Module, examples: Examples) -> Tensor:
    """What a model answers in evaluation mode, [n, C]; it is left in the mode that it was in.

    Raises
    ------
    InvalidInput: there are no examples.
    """
    if not len(examples):
        raise InvalidInput("There are no examples to test on.")
    device, mode = next(model.parameters()).device, model.training
    model.eval()
    try:
        return torch.cat([model(x.to(device)) for x, _ in examples.batches(BATCH)])
    finally:
        model.train(mode)


def accuracy(model: nn.Module, examples: Examples) -> float:
    """The share of examples that are classified right."""
    found = logits(model, examples).argmax(1)
    return float((found == examples.labels.to(found.device)).double().mean())


def membership(model: nn.Module, retain: Examples, forget: Examples, test: Examples) -> float:
    """The share of forgotten training examples that look like members, from the entropy of the predictions.

    A logistic regression with balanced classes learns to tell training examples that stay (members) from tests (no
    members) by one number, the entropy (Chundawat et al. 2022). It is a weak attack: that it finds nothing proves
    nothing.

    Raises
    ------
    MissingExtra: scikit-learn is not installed.
    """
    try:
        from sklearn.linear_model import LogisticRegression
    except ImportError:
        raise MissingExtra("scikit-learn", "continual") from None
    members, asked, others = (_entropy(logits(model, part)).cpu().double() for part in (retain, forget, test))
    attack = LogisticRegression(class_weight="balanced")
    x = torch.cat([members, others])[:, None].numpy()
    attack.fit(x, [1] * len(members) + [0] * len(others))
    return float(attack.predict(asked[:, None].numpy()).mean())


def _entropy(logits: Tensor) -> Tensor:
    logs = logits.double().log_softmax(1)
    return -(logs.exp() * logs).sum(1)


def ignorance(model: nn.Module, teacher: nn.Module, examples: Examples) -> float:
    """ZRF: 1 - JS(model, teacher), the mean over examples, in bits, so that it lies in [0, 1].

    The official code divides by the number of classes too, and swaps the arguments of the divergence, so that its
    values lie near 1 and do not compare with these.
    """
    p, q = (logits(one, examples).double().log_softmax(1) for one in (model, teacher))
    middle = torch.logaddexp(p, q) - math.log(2)
    divergence = 0.5 * ((p.exp() * (p - middle)).sum(1) + (q.exp() * (q - middle)).sum(1))
    return float(1 - divergence.mean() / math.log(2))
