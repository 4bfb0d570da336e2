"""Learning without forgetting: scenarios, methods, measures.

    from halflife.continual import ER, class_incremental, load, run

    results = run(class_incremental(load("digits")), ER(capacity=200), seeds=3)
    results.interval("accuracy")

Everything here needs PyTorch.
"""

from halflife.errors import MissingExtra

try:
    import torch  # noqa: F401
except ImportError:
    raise MissingExtra("torch", "continual") from None

from halflife.continual.buffer import Buffer
from halflife.continual.data import Dataset, dataset, from_pairs, from_torchvision, load
from halflife.continual.evaluator import Evaluator
from halflife.continual.importance import importance
from halflife.continual.method import Batch, Context, Learner, Method, Wrapper
from halflife.continual.methods import (
    AGEM,
    DER,
    ER,
    ERACE,
    EWC,
    FPF,
    HPCR,
    KFPF,
    L2,
    MAS,
    NAPAVQ,
    PCR,
    PRD,
    SI,
    DERpp,
    FrequencyReplay,
    GDumb,
    GroupMasking,
    ICaRL,
    Joint,
    LwF,
    MultiHead,
    Naive,
    Refresh,
    RehearsalFree,
    ViewBatch,
    WeightedER,
)
from halflife.continual.metrics import interval, matrix_metrics, paired
from halflife.continual.networks import CNN, MLP, CosineHead, LinearHead, Network, ResNet18
from halflife.continual.rehearsal import needed, rehearsed
from halflife.continual.results import Results
from halflife.continual.runner import run
from halflife.continual.scenario import (
    Experience,
    Scenario,
    Stream,
    blurry,
    class_incremental,
    domain_incremental,
    online,
    permuted,
    rotated,
    task_free,
    zipf,
)
from halflife.continual.scole import scole
from halflife.continual.stability import metrics_from_curves
from halflife.continual.tuning import tune
from halflife.continual.unlearning import unlearn

__all__ = [
    "AGEM",
    "CNN",
    "DER",
    "ER",
    "ERACE",
    "EWC",
    "FPF",
    "HPCR",
    "KFPF",
    "L2",
    "MAS",
    "MLP",
    "NAPAVQ",
    "PCR",
    "PRD",
    "SI",
    "Batch",
    "Buffer",
    "Context",
    "CosineHead",
    "DERpp",
    "Dataset",
    "Evaluator",
    "Experience",
    "FrequencyReplay",
    "GDumb",
    "GroupMasking",
    "ICaRL",
    "Joint",
    "Learner",
    "LinearHead",
    "LwF",
    "Method",
    "MultiHead",
    "Naive",
    "Network",
    "Refresh",
    "RehearsalFree",
    "ResNet18",
    "Results",
    "Scenario",
    "Stream",
    "ViewBatch",
    "WeightedER",
    "Wrapper",
    "blurry",
    "class_incremental",
    "dataset",
    "domain_incremental",
    "from_pairs",
    "from_torchvision",
    "importance",
    "interval",
    "load",
    "matrix_metrics",
    "metrics_from_curves",
    "needed",
    "online",
    "paired",
    "permuted",
    "rehearsed",
    "rotated",
    "run",
    "scole",
    "task_free",
    "tune",
    "unlearn",
    "zipf",
]
