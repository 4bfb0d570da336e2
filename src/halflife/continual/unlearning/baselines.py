"""Unlearning by training: the methods that SSD is compared with, with the settings of its official code."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from halflife.continual.examples import Examples, joined
from halflife.continual.method import frozen
from halflife.continual.unlearning.request import Outcome, Request, whole_classes
from halflife.continual.unlearning.training import Training
from halflife.errors import InvalidInput

BATCH = 1024  # examples of one forward pass

# The trainings of the official code.
RETRAINING = Training(weight_decay=5e-4, milestones=(8, 12, 16), warmup=1)
FINETUNING = Training(epochs=5, lr=0.02, weight_decay=5e-4)
RELABELLING = Training(epochs=3, lr=1e-4, optimizer="adam", batch_size=128)
TEACHING = Training(epochs=1, lr=1e-4, optimizer="adam", batch_size=256)
IMPAIRING = Training(epochs=1, lr=1e-4, optimizer="adam", batch_size=32)
REPAIRING = Training(epochs=1, lr=1e-4, optimizer="adam", batch_size=128)


@dataclass(frozen=True, kw_only=True)
class Nothing:
    """The model as it is."""

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        return Outcome(request.model)


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train a new network on what stays: what every other method is measured against.

    The official code resets only those direct children of the network that can be reset, which for a ResNet is the last
    layer (its issue 1); here all weights are drawn anew.

    Parameters
    ----------
    training: take that of the original model.
    """

    training: Training = RETRAINING

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        model = request.fresh(request.seed)
        return Outcome(model, self.training.fit(model, request.retain, request.rng("retrain")))


@dataclass(frozen=True, kw_only=True)
class Finetune:
    """Go on training on what stays, and trust that the rest fades."""

    training: Training = FINETUNING

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        return Outcome(request.model, self.training.fit(request.model, request.retain, request.rng("finetune")))


@dataclass(frozen=True, kw_only=True)
class Amnesiac:
    """Train on everything, with a random wrong label on what is to go (Graves et al. 2021, arXiv 2010.10981).

    The wrong labels are classes that stay, and never the true one.
    """

    training: Training = RELABELLING

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        passes = self.training.fit(request.model, request.data, request.rng("amnesiac"), wrong_labels(request))
        return Outcome(request.model, passes)


def wrong_labels(request: Request) -> Tensor:
    """The labels of `request.data`, with those of what is to go wrong, int64 [n]."""
    staying = request.retain.classes
    true = request.forget.labels
    if len(staying) < 2:
        raise InvalidInput("A wrong label needs two classes that stay.", "Use another method.")
    rng = request.rng("labels")
    choices = torch.tensor(staying, device=true.device)
    place = (choices == true[:, None]).int()  # [n, classes that stay]
    allowed = len(staying) - place.sum(1)  # the true class may be among them
    drawn = (torch.rand(len(true), generator=rng).to(true.device) * allowed).long()
    after = (place.sum(1) == 1) & (drawn >= place.argmax(1))  # step over the true class
    return torch.cat([request.retain.labels, choices[drawn + after.long()]])


@dataclass(frozen=True, kw_only=True)
class BadTeacher:
    """Follow a teacher that knows nothing on what is to go, and the old model on a part of what stays.

    Chundawat et al. 2022, arXiv 2205.08096. The loss is the KL divergence from the teacher's answers, at temperature 1.

    Parameters
    ----------
    share: of what stays.
    """

    training: Training = TEACHING
    share: float = 0.3

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        rng = request.rng("bad teacher")
        some = request.retain.shuffled(rng, round(self.share * len(request.retain)))
        ignorant, knowing = frozen(request.fresh(request.seed)), frozen(request.model)
        answers = [
            torch.cat([teacher(x).softmax(1) for x, _ in part.batches(BATCH)])
            for teacher, part in ((knowing, some), (ignorant, request.forget))
            if len(part)
        ]
        data = joined([some, request.forget])
        return Outcome(request.model, self.training.fit(request.model, data, rng, torch.cat(answers)))


@dataclass(frozen=True, kw_only=True)
class UNSIR:
    """Learn noise that the model is most wrong about, train on it as the class to forget, then repair.

    Tarun et al. 2021, arXiv 2111.08947. It forgets whole classes only.

    Parameters
    ----------
    images, steps, noise_lr, penalty: noise images of each class; they are learned by so many steps of Adam to raise the
        loss, with this weight on their squared norm. copies: of each noise image in the impair epoch.
    per_class: examples of each class that stays. impair, repair: the two trainings.
    """

    images: int = 32
    steps: int = 25
    noise_lr: float = 0.1
    penalty: float = 0.1
    copies: int = 80
    per_class: int = 500
    impair: Training = IMPAIRING
    repair: Training = REPAIRING

    def __call__(self, request: Request) -> Outcome:
        """See `Unlearner`."""
        gone = whole_classes(request)
        if set(gone) != set(request.forget.classes):
            raise InvalidInput(
                "UNSIR forgets whole classes, and some classes are both to be forgotten and to stay.",
                "Use another method.",
            )
        rng = request.rng("unsir")
        of_class = [request.retain.of([c]).shuffled(rng, self.per_class) for c in request.retain.classes]
        x, y = joined(of_class).all()
        labels = torch.tensor(gone, device=y.device).repeat_interleave(self.images)
        noise = self.noise(request, labels, x.shape[1:], rng)
        bad_x, bad_y = noise.repeat(self.copies, *[1] * (x.dim() - 1)), labels.repeat(self.copies)
        mixed = _of(torch.cat([bad_x, x]), torch.cat([bad_y, y]))
        passes = self.impair.fit(request.model, mixed, rng)
        passes += self.repair.fit(request.model, _of(x, y), rng)
        return Outcome(request.model, passes + self.steps * len(noise))

    def noise(self, request: Request, labels: Tensor, shape: torch.Size, rng: torch.Generator) -> Tensor:
        """Inputs that the model would not take for these classes, [n, *shape]."""
        model = frozen(request.model)
        noise = torch.randn(len(labels), *shape, generator=rng).to(labels.device).requires_grad_()
        optim = torch.optim.Adam([noise], lr=self.noise_lr)
        for _ in range(self.steps):
            wrong = F.cross_entropy(model(noise), labels)
            loss = self.penalty * noise.square().flatten(1).sum(1).mean() - wrong
            optim.zero_grad()
            loss.backward()
            optim.step()
        return noise.detach()


def _of(x: Tensor, y: Tensor) -> Examples:
    return Examples(x, y, torch.arange(len(y), device=y.device))


def with_lr(method: Finetune | Amnesiac | BadTeacher | UNSIR, lr: float) -> Finetune | Amnesiac | BadTeacher | UNSIR:
    """The same method with another learning rate.

    >>> with_lr(Finetune(), 0.5).training.lr
    0.5
    """
    if isinstance(method, UNSIR):
        return replace(method, impair=replace(method.impair, lr=lr), repair=replace(method.repair, lr=lr))
    return replace(method, training=replace(method.training, lr=lr))
