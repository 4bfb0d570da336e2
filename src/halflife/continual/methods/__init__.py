"""Continual-learning methods, one file each: a method is a class whose `observe` is its training step."""

from halflife.continual.methods.agem import AGEM
from halflife.continual.methods.der import DER, DERpp
from halflife.continual.methods.er import ER
from halflife.continual.methods.er_ace import ERACE
from halflife.continual.methods.ewc import EWC
from halflife.continual.methods.gdumb import GDumb
from halflife.continual.methods.icarl import ICaRL
from halflife.continual.methods.l2 import L2
from halflife.continual.methods.lwf import LwF
from halflife.continual.methods.mas import MAS
from halflife.continual.methods.naive import Joint, Naive
from halflife.continual.methods.si import SI

__all__ = ["AGEM", "DER", "ER", "ERACE", "EWC", "L2", "MAS", "SI", "DERpp", "GDumb", "ICaRL", "Joint", "LwF", "Naive"]
