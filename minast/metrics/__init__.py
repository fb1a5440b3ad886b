"""How good a classifier is, from scores (N, K) of N clips for K classes and targets (N, K) of 0 and 1.

    ranking      average precision, AUC, d': how well scores put positives above negatives
    counting     accuracy, precision, recall, F1: how many decisions are right
    bootstrap    intervals of all these, and of the difference between two models

A class without a positive clip has no measure: its values are NaN, and means are over the other classes (`has_clips`).
So a mean says something about the classes that were tested, and nothing about the rest; whoever prints it names them.
Source: the official code's stats.py, which calls scikit-learn; these agree with version 1.9 to 1e-12, ties included.
"""

from .bootstrap import Difference, class_measures, intervals, measures, paired_difference, units
from .counting import (
    accuracy,
    balanced_accuracy,
    confusion_matrix,
    decided,
    f1_macro,
    f1_micro,
    has_clips,
    precision_recall_f1,
)
from .ranking import average_precision, d_prime, mean_average_precision, roc_auc, roc_auc_per_class

__all__ = [
    "Difference",
    "accuracy",
    "average_precision",
    "balanced_accuracy",
    "class_measures",
    "confusion_matrix",
    "d_prime",
    "decided",
    "f1_macro",
    "f1_micro",
    "has_clips",
    "intervals",
    "mean_average_precision",
    "measures",
    "paired_difference",
    "precision_recall_f1",
    "roc_auc",
    "roc_auc_per_class",
    "units",
]
