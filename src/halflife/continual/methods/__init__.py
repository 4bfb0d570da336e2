"""Continual-learning methods, one file each: a method is a class whose `observe` is its training step."""

from halflife.continual.methods.agem import AGEM
from halflife.continual.methods.der import DER, DERpp
from halflife.continual.methods.er import ER
from halflife.continual.methods.er_ace import ERACE
from halflife.continual.methods.ewc import EWC
from halflife.continual.methods.fpf import FPF, KFPF
from halflife.continual.methods.frequency_replay import FrequencyReplay
from halflife.continual.methods.gdumb import GDumb
from halflife.continual.methods.group_masking import GroupMasking
from halflife.continual.methods.hpcr import HPCR, PCR
from halflife.continual.methods.icarl import ICaRL
from halflife.continual.methods.l2 import L2
from halflife.continual.methods.lwf import LwF
from halflife.continual.methods.mas import MAS
from halflife.continual.methods.multihead import MultiHead
from halflife.continual.methods.naive import Joint, Naive
from halflife.continual.methods.napa_vq import NAPAVQ
from halflife.continual.methods.prd import PRD
from halflife.continual.methods.refresh import Refresh
from halflife.continual.methods.rehearsal_free import RehearsalFree
from halflife.continual.methods.si import SI
from halflife.continual.methods.view_batch import ViewBatch
from halflife.continual.methods.weighted_er import WeightedER

__all__ = [
    "AGEM",
    "DER",
    "ER",
    "ERACE",
    "EWC",
    "FPF",
    "HPCR",
    "KFPF",
    "L2",
    "MAS",
    "NAPAVQ",
    "PCR",
    "PRD",
    "SI",
    "DERpp",
    "FrequencyReplay",
    "GDumb",
    "GroupMasking",
    "ICaRL",
    "Joint",
    "LwF",
    "MultiHead",
    "Naive",
    "Refresh",
    "RehearsalFree",
    "ViewBatch",
    "WeightedER",
]
