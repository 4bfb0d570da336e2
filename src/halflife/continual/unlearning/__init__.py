"""Making a trained model forget some of its training examples, and measuring whether it did.

from halflife.continual.unlearning import search_alpha, unlearn, unlearning_report

chosen = search_alpha(model, forget, retain).method
done = unlearn(chosen, model, forget, retain)
unlearning_report(done.model, retain, forget, test)
"""

from halflife.continual.unlearning.baselines import (
    UNSIR,
    Amnesiac,
    BadTeacher,
    Finetune,
    Nothing,
    Retrain,
    with_lr,
)
from halflife.continual.unlearning.importances import Importances, fingerprint, measure
from halflife.continual.unlearning.perturbing import Control, FisherForgetting
from halflife.continual.unlearning.report import UnlearningReport, unlearning_report
from halflife.continual.unlearning.request import Outcome, Request, Unlearner
from halflife.continual.unlearning.run import METHODS, Unlearned, unlearn
from halflife.continual.unlearning.search import Searched, Trial, search, search_alpha
from halflife.continual.unlearning.ssd import LFSSD, SSD, Dampening, Layer, ssd_dampen
from halflife.continual.unlearning.training import Training, fresh_like

__all__ = [
    "LFSSD",
    "METHODS",
    "SSD",
    "UNSIR",
    "Amnesiac",
    "BadTeacher",
    "Control",
    "Dampening",
    "Finetune",
    "FisherForgetting",
    "Importances",
    "Layer",
    "Nothing",
    "Outcome",
    "Request",
    "Retrain",
    "Searched",
    "Training",
    "Trial",
    "Unlearned",
    "Unlearner",
    "UnlearningReport",
    "fingerprint",
    "fresh_like",
    "measure",
    "search",
    "search_alpha",
    "ssd_dampen",
    "unlearn",
    "unlearning_report",
    "with_lr",
]
