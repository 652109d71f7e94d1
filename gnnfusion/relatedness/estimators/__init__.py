"""One estimator of task relatedness a file; what each needs, and which question it answers.

``needs`` says what ``estimate`` is called with: ``training`` takes ``(probes, schema, seed)``, the
others take ``(network, store, rows, seed)``. Where a module serves several names it defines
``estimate_NAME`` for the further ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from gnnfusion.methods import Method
from gnnfusion.relatedness.questions import QUESTIONS

TOGETHER, INFORMS, HELPS = QUESTIONS


@dataclass(frozen=True)
class Estimator(Method):
    """An entry of the table of estimators.

    Parameters
    ----------
    family
        Estimators of one family are variants of one idea.
    question
        What it is about; one of `QUESTIONS`.
    needs
        ``labels``, ``encoders`` or all of a trained ``network``, or ``training`` (probes measured
        on the way); ``trainings`` of its own, many of them, of which `relate` takes care.
    """

    family: str
    question: str
    needs: str

    @property
    def reads_training_rows(self) -> bool:
        """Whether labels that the network has learned from serve as well as held-out ones: it makes
        no use of what the network expects of them."""
        return self.needs in ("labels", "encoders")

    @property
    def tested(self) -> bool:
        """Whether its values are tested against a null: ablations are controls, and of those that
        ask what training does, measured transfer alone has one."""
        asks = self.question != HELPS or self.needs == "trainings"
        return asks and self.family != "ablation"


BEYOND = "what the network makes too little of in the features counts as told by the label"
"""What is to be said with findings of methods that ask for more than the features tell."""

ARXIV, DOI = "https://arxiv.org/abs", "https://doi.org"

# Name, module, family, question, needs, summary, reference.
_TABLE = (
    ("evidence", "evidence", "evidence", INFORMS, "network",
     "fall of task j's loss when label i is shown to the network", ""),
    ("evidence_given_others", "evidence_given_others", "evidence", INFORMS, "network",
     "the same where the other labels are known, too", ""),
    ("residuals", "residuals", "evidence", INFORMS, "network",
     "correlation of what the network leaves open in both tasks", f"{ARXIV}/1804.07203"),
    ("labels", "labels", "labels", TOGETHER, "labels",
     "rank correlation of the labels, or their information on its scale",
     f"{DOI}/10.1016/S0019-9958%2857%2990116-X"),
    ("gradient", "gradient", "gradient", HELPS, "network",
     "mean absolute cosine of the tasks' gradients on held-out batches", f"{ARXIV}/2001.06782"),
    ("look_ahead", "look_ahead", "gradient", HELPS, "training",
     "fall of loss j after a step on loss i, over training", f"{ARXIV}/2109.04617"),
    ("first_order", "look_ahead", "gradient", HELPS, "training",
     "fall of loss j that a small step on loss i promises", f"{ARXIV}/2109.04617"),
    ("linearized", "linearized", "gradient", HELPS, "network",
     "gain of training on a pair in a linear model of the network", f"{ARXIV}/2409.06091"),
    ("cka", "representation", "representation", HELPS, "network",
     "linear centred kernel alignment of the tasks' outputs", f"{ARXIV}/1905.00414"),
    ("rsa", "representation", "representation", HELPS, "network",
     "rank correlation of the distances that the tasks' outputs make", f"{ARXIV}/1904.11740"),
    ("cross_prediction", "cross_prediction", "representation", HELPS, "network",
     "how well the output for one task tells the label of the other", f"{ARXIV}/2002.12462"),
    ("coregionalization", "coregionalization", "coregionalization", HELPS, "encoders",
     "how much the features tell of one label that they tell of the other, too",
     f"{ARXIV}/1106.6251"),
    ("attention", "attention", "attention", INFORMS, "network",
     "attention between task nodes, beside its control", ""),
    ("attention_rollout", "attention", "attention", INFORMS, "network",
     "the same followed through all layers", f"{ARXIV}/2005.00928"),
    ("ablation", "ablation", "ablation", INFORMS, "network",
     "rise of loss j when the messages from task node i to j are cut", ""),
    ("ablation_total", "ablation", "ablation", INFORMS, "network",
     "rise of loss j when task node i is cut off from all others", ""),
)  # fmt: skip

ESTIMATORS = {
    name: Estimator(f"{__name__}.{module}", summary, reference, family, question, needs)
    for name, module, family, question, needs, summary, reference in _TABLE
}

SHOWING = ("evidence", "evidence_given_others")
"""Those that show labels to the network, which must have learned to read them."""

METHODS = {
    **ESTIMATORS,
    "combined": Estimator(
        "gnnfusion.relatedness.combined", "mean over families of what one training tells", "",
        "combined", HELPS, "network",
    ),
    "transfer": Estimator(
        f"{__name__}.transfer", "fall of loss j when i is trained on, too: measured by training",
        f"{ARXIV}/1905.07553", "transfer", HELPS, "trainings",
    ),
}  # fmt: skip
"""All that `relate` takes: estimators, and the measurement that they are held to."""
