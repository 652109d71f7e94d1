"""The questions that relatedness answers; figures and sentences never mix them.

Alone in a file, so that the command line lists estimators without importing numpy.
"""

QUESTIONS = (
    "labels go together",
    "label i informs j beyond the features",
    "training with i helps j",
)
