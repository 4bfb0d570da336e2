"""A memory of examples: fixed tensors with named fields, and five policies of what to keep."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import torch
from torch import Tensor

from halflife.continual.files import replacing
from halflife.errors import InvalidInput

Policy: TypeAlias = Literal["reservoir", "class_balanced", "ring", "herding", "greedy"]
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Rows:
    """Rows of a buffer: its fields as attributes, and `slots`, where they are.

    >>> rows = Rows({"x": torch.zeros(2, 3), "y": torch.ones(2)}, torch.tensor([4, 7]))
    >>> len(rows), rows.y.tolist(), rows.slots.tolist()
    (2, [1.0, 1.0], [4, 7])
    """

    def __init__(self, fields: Mapping[str, Tensor], slots: Tensor) -> None:
        self.fields = fields
        self.slots = slots

    def __len__(self) -> int:
        return len(self.slots)

    def __getattr__(self, name: str) -> Tensor:
        try:
            return self.__dict__["fields"][name]  # type: ignore[no-any-return]
        except KeyError:
            raise AttributeError(f"The buffer has no field {name!r}.") from None


class Buffer:
    """A memory of at most `capacity` examples.

    Parameters
    ----------
    capacity: how many.
    policy: what stays when it is full.
        `reservoir`: every example seen so far with the same probability (Vitter 1985; Riemer et al. 2019).
        `class_balanced`: as above within a class; a new class takes its room from the largest (Chrysakis & Moens 2020).
        `greedy`: every class up to its share of the room, taken from the largest (GDumb, Prabhu et al. 2020).
        `ring`: the last ones.
        `herding`: of every class those whose mean of features is nearest to the class's (iCaRL, Rebuffi et al. 2017);
        `add` takes whole classes and needs the field `features`, which is not kept.
    generator: of every draw.
    per_class: a fixed share of a class for `greedy` and `herding`; None: the room over the classes seen.

    Raises
    ------
    InvalidInput: a capacity below 1, an unknown policy, or fields that do not fit those of the first call.

    >>> memory = Buffer(4, generator=torch.Generator().manual_seed(0))
    >>> memory.add(x=torch.rand(10, 3), y=torch.arange(10))
    >>> len(memory), memory.sample(2).x.shape
    (4, torch.Size([2, 3]))
    """

    def __init__(
        self,
        capacity: int,
        policy: Policy = "reservoir",
        generator: torch.Generator | None = None,
        per_class: int | None = None,
    ) -> None:
        if capacity < 1:
            raise InvalidInput(f"A buffer of {capacity} examples holds nothing.", "Use at least 1.")
        if policy not in POLICIES:
            raise InvalidInput(f"There is no policy {policy!r}.", f"Use one of {', '.join(POLICIES)}.")
        self.capacity = capacity
        self.policy = policy
        self.per_class = per_class
        self.generator = generator or torch.Generator().manual_seed(0)
        self.seen = 0  # examples offered
        self.size = 0
        self._fields: dict[str, Tensor] = {}
        self._of_class: dict[int, list[int]] = {}  # class -> its slots; for `herding` the best first
        self._offered: dict[int, int] = {}  # class -> how many of it were offered
        self._classes: list[int] = []  # of every slot

    def __len__(self) -> int:
        return self.size

    @property
    def full(self) -> bool:
        """Whether there is no room."""
        return self.size == self.capacity

    @property
    def nbytes(self) -> int:
        """Bytes of all fields."""
        return sum(field.nbytes for field in self._fields.values())

    def counts(self) -> dict[int, int]:
        """How many examples of each class it holds."""
        labels, counts = self._fields["y"][: self.size].unique(return_counts=True) if self.size else ((), ())
        return {int(c): int(n) for c, n in zip(labels, counts, strict=True)}

    # -- putting in -------------------------------------------------------------------------------------------------

    def add(self, **fields: Tensor) -> None:
        """Offer a batch: every field is [B, ...], with `x` and `y` among them."""
        if not {"x", "y"} <= fields.keys():
            raise InvalidInput("A buffer needs the fields x and y.")
        count = len(fields["y"])
        if any(len(value) != count for value in fields.values()):
            sizes = ", ".join(f"{name}: {len(value)}" for name, value in fields.items())
            raise InvalidInput(f"The fields have different lengths ({sizes}).")
        if not count:
            return
        features = fields.pop("features").detach() if self.policy == "herding" and "features" in fields else None
        self._make(fields)
        if self.policy == "herding":
            if features is None:
                raise InvalidInput("Herding chooses by features.", "Add them: features=model.features(x).")
            self._herd({name: value.detach() for name, value in fields.items()}, features)
            return
        if self.policy == "reservoir":
            chosen = self._reservoir(count)
        elif self.policy == "ring":
            chosen = {(self.seen + i) % self.capacity: i for i in range(count)}
            self.seen += count
            self.size = min(self.seen, self.capacity)
        else:
            chosen = self._balanced(fields["y"].tolist())
        if chosen:
            self._put(torch.tensor(list(chosen)), torch.tensor(list(chosen.values())), fields)

    def _make(self, fields: Mapping[str, Tensor]) -> None:
        if not self._fields:
            self._fields = {
                name: torch.zeros(self.capacity, *value.shape[1:], dtype=value.dtype, device=value.device)
                for name, value in fields.items()
            }
        expected = {name: value.shape[1:] for name, value in self._fields.items()}
        given = {name: value.shape[1:] for name, value in fields.items()}
        if expected != given:
            show = [{name: tuple(shape) for name, shape in one.items()} for one in (expected, given)]
            raise InvalidInput(f"The buffer keeps {show[0]}, but was given {show[1]}.")

    def _put(self, slots: Tensor, rows: Tensor, fields: Mapping[str, Tensor]) -> None:
        for name, value in fields.items():
            kept = self._fields[name]
            kept[slots.to(kept.device)] = value.detach()[rows.to(value.device)].to(kept)

    def _reservoir(self, count: int) -> dict[int, int]:
        """Slot -> row of the batch; of two rows for one slot the later wins."""
        chosen: dict[int, int] = {}
        free = min(count, self.capacity - self.size)
        for row in range(free):
            chosen[self.size + row] = row
        if free < count:
            upto = torch.arange(self.seen + free + 1, self.seen + count + 1, dtype=torch.float64)
            draws = (torch.rand(count - free, dtype=torch.float64, generator=self.generator) * upto).long()
            hits = (draws < self.capacity).nonzero()[:, 0]
            for row, slot in zip(hits.tolist(), draws[hits].tolist(), strict=True):
                chosen[slot] = free + row
        self.seen += count
        self.size += free
        return chosen

    def _balanced(self, labels: list[int]) -> dict[int, int]:
        chosen: dict[int, int] = {}
        for row, label in enumerate(labels):
            self.seen += 1
            offered = self._offered[label] = self._offered.get(label, 0) + 1
            mine = self._of_class.setdefault(label, [])
            slot: int | None = None
            if self.policy == "greedy" and len(mine) >= (self.per_class or self.capacity / len(self._of_class)):
                continue
            if self.size < self.capacity:
                slot = self.size
                self.size += 1
                self._classes.append(label)
                mine.append(slot)
            else:
                largest = max(self._of_class, key=lambda c: len(self._of_class[c]))
                if len(self._of_class[largest]) > len(mine):
                    slot = self._of_class[largest].pop(self._draw(len(self._of_class[largest])))
                    self._classes[slot] = label
                    mine.append(slot)
                elif self.policy == "class_balanced" and self._draw(offered) < len(mine):
                    slot = mine[self._draw(len(mine))]
            if slot is not None:
                chosen.pop(slot, None)
                chosen[slot] = row
        return chosen

    def _draw(self, below: int) -> int:
        return int(torch.randint(0, below, (1,), generator=self.generator))

    def _herd(self, fields: Mapping[str, Tensor], features: Tensor) -> None:
        """Keep the best of each class, in the order in which they were chosen; all classes shrink to their share."""
        labels = fields["y"]
        classes = labels.unique().tolist()
        known = set(self._of_class) | set(classes)
        share = self.per_class or self.capacity // len(known)
        if share * len(known) > self.capacity or share < 1:
            raise InvalidInput(
                f"{len(known)} classes of {share or 1} examples are more than {self.capacity}.", "Take a larger buffer."
            )
        old = {c: self._of_class[c][:share] for c in self._of_class if c not in classes}
        parts: dict[int, dict[str, Tensor]] = {
            c: {name: value[torch.tensor(slots)] for name, value in self._fields.items()} for c, slots in old.items()
        }
        for c in classes:
            mine = (labels == c).nonzero()[:, 0]
            best = mine[herd(features[mine], share)]
            parts[c] = {name: value[best].to(self._fields[name]) for name, value in fields.items()}
        start = 0
        for c, part in parts.items():
            stop = start + len(part["y"])
            for name, value in part.items():
                self._fields[name][start:stop] = value
            self._of_class[c] = list(range(start, stop))
            start = stop
        self.size = start
        self.seen += len(labels)

    def update(self, slots: Tensor, **fields: Tensor) -> None:
        """Write fields of rows that are there, such as fresh logits."""
        for name, value in fields.items():
            self._fields[name][slots] = value.detach().to(self._fields[name])

    # -- taking out -------------------------------------------------------------------------------------------------

    def sample(self, count: int) -> Rows:
        """At most so many rows at random, none twice."""
        if self.size == 0:
            raise InvalidInput("The buffer is empty.", "Add examples before sampling.")
        return self.rows(self._distinct(min(count, self.size)))

    def _distinct(self, count: int) -> Tensor:
        if 4 * count > self.size or self.size < 512:
            return torch.randperm(self.size, generator=self.generator)[:count]
        drawn = torch.randint(0, self.size, (2 * count,), generator=self.generator)  # O(count) in a large buffer
        found = list(dict.fromkeys(drawn.tolist()))
        while len(found) < count:
            found = list(dict.fromkeys([*found, self._draw(self.size)]))
        return torch.tensor(found[:count])

    def balanced(self, count: int) -> Rows:
        """So many rows with every class as often as every other, as far as that goes; rows may come twice."""
        if self.size == 0:
            raise InvalidInput("The buffer is empty.", "Add examples before sampling.")
        labels = self._fields["y"][: self.size]
        classes = labels.unique()
        drawn = classes[torch.randperm(len(classes), generator=self.generator).to(classes.device)]
        wanted = drawn[torch.arange(count, device=drawn.device) % len(drawn)]
        slots = torch.empty(count, dtype=torch.long)
        for c in classes:
            mine = (labels == c).nonzero()[:, 0].cpu()
            places = (wanted == c).nonzero()[:, 0].cpu()
            slots[places] = mine[torch.randint(0, len(mine), (len(places),), generator=self.generator)]
        return self.rows(slots)

    def all(self) -> Rows:
        """Every row."""
        return self.rows(torch.arange(self.size))

    def rows(self, slots: Tensor) -> Rows:
        """The rows at these slots."""
        if not self._fields:
            return Rows({}, slots)
        slots = slots.to(next(iter(self._fields.values())).device)
        return Rows({name: value[slots] for name, value in self._fields.items()}, slots)

    # -- keeping ----------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        """All of it as plain data, the generator included."""
        return {
            "capacity": self.capacity, "policy": self.policy, "per_class": self.per_class, "seen": self.seen,
            "size": self.size, "fields": {name: value.clone() for name, value in self._fields.items()},
            "of_class": {c: list(slots) for c, slots in self._of_class.items()}, "offered": dict(self._offered),
            "classes": list(self._classes), "generator": self.generator.get_state(),
        }  # fmt: skip

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put back what `state_dict` gave."""
        if (state["capacity"], state["policy"]) != (self.capacity, self.policy):
            raise InvalidInput(
                f"The state is of a buffer of {state['capacity']} ({state['policy']}), this one is of {self.capacity} "
                f"({self.policy})."
            )
        self.per_class, self.seen, self.size = state["per_class"], state["seen"], state["size"]
        self._fields = {name: value.clone() for name, value in state["fields"].items()}
        self._of_class = {c: list(slots) for c, slots in state["of_class"].items()}
        self._offered, self._classes = dict(state["offered"]), list(state["classes"])
        self.generator.set_state(state["generator"].cpu())

    def save(self, path: str | Path) -> None:
        """Write it to a file: whole, or not at all."""
        with replacing(path) as part:
            torch.save(self.state_dict(), part)

    @classmethod
    def load(cls, path: str | Path) -> Buffer:
        """Read what `save` wrote."""
        state = torch.load(path, weights_only=True)
        made = cls(state["capacity"], state["policy"], torch.Generator(), state["per_class"])
        made.load_state_dict(state)
        return made


def herd(features: Tensor, count: int) -> Tensor:
    """The rows whose running mean stays nearest to the mean of all, the best first (iCaRL, algorithm 4).

    Parameters
    ----------
    features: [n, d]; each is brought to unit length. count: at most so many.

    Returns
    -------
    int64 [min(count, n)].
    """
    z = torch.nn.functional.normalize(features, dim=1)
    mean, total = z.mean(0), torch.zeros_like(z[0])
    left = torch.ones(len(z), dtype=torch.bool, device=z.device)
    chosen: list[int] = []
    for k in range(1, min(count, len(z)) + 1):
        far = (mean - (total + z) / k).norm(dim=1).masked_fill(~left, torch.inf)
        best = int(far.argmin())
        chosen.append(best)
        left[best] = False
        total = total + z[best]
    return torch.tensor(chosen, device=features.device)
