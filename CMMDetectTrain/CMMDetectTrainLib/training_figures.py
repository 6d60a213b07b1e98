"""Figures of a training, as SVG: loss curves (figure 8 of the paper) and the student's features (figure 7C-D)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from CMMDetectLib.networks import Student

from .patches import CandidateSet, Place, every_place
from .report_figures import BLUE, GRAY, ORANGE, STYLE, to_svg
from .report_page import ReportFigure
from .training import EpochRecord

LEAST_POINTS = 10
"""Least number of candidates of either kind for which their neighborhoods are drawn."""
MOST_POINTS = 1500
BATCH = 64


def loss_figure(curves: Mapping[str, Sequence[EpochRecord]]) -> ReportFigure:
    """Draw the training and validation loss of each network, and mark the epoch whose weights were kept."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.1), layout="constrained")
        for axes, (name, curve) in zip(
            np.atleast_1d(figure.subplots(1, max(len(curves), 1))), curves.items(), strict=False
        ):
            epochs = [record.epoch + 1 for record in curve]
            validation = [record.validation_loss for record in curve]
            axes.plot(epochs, [record.training_loss for record in curve], color=BLUE, label="training")
            axes.plot(epochs, validation, color=ORANGE, label="validation")
            axes.axvline(epochs[int(np.argmin(validation))], color=GRAY, linestyle="--", linewidth=1, label="kept")
            axes.set(title=name.capitalize(), xlabel="Epoch", xlim=(0.5, max(epochs) + 0.5))
            axes.xaxis.get_major_locator().set_params(integer=True)
        figure.axes[0].set_ylabel("Loss")
        figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside upper right", ncols=3)
        caption = "Training and validation loss by epoch. The weights of the epoch at the dashed line were kept."
        return ReportFigure("Loss curves", caption, to_svg(figure))


def feature_figure(student: Student, places: Sequence[Place], seed: int = 0) -> ReportFigure | None:
    """Draw the student's last features of the candidates, reduced to two dimensions by t-SNE.

    Parameters
    ----------
    places : from `distillation.candidate_places`; at most `MOST_POINTS` of them, drawn at random, are shown

    Returns
    -------
    ReportFigure or None
        None if there are fewer than `LEAST_POINTS` true or false candidates, or if all have the same features.
    """
    from sklearn.manifold import TSNE  # comes with nilearn; slow to import

    order = np.random.default_rng(seed).permutation(len(places))[:MOST_POINTS]
    shown = [places[index] for index in order]
    true = np.array([place.positive for place in shown], bool)
    if min(np.count_nonzero(true), np.count_nonzero(~true)) < LEAST_POINTS:
        return None
    features = embed(student, shown)
    if not features.std():
        return None
    perplexity = min(30.0, (len(shown) - 1) / 3)
    points = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(features)
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(5.4, 4.6), layout="constrained")
        axes = figure.subplots()
        for which, color, label in ((~true, GRAY, "no microbleed"), (true, ORANGE, "microbleed")):
            axes.scatter(points[which, 0], points[which, 1], s=9, color=color, label=label, linewidths=0)
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
        figure.legend(loc="outside upper right", ncols=2)
        caption = f"The student's last features of {len(shown)} candidates of the validation subjects, by t-SNE."
        return ReportFigure("Features of the student", caption, to_svg(figure))


@torch.no_grad()
def embed(student: Student, places: Sequence[Place]) -> NDArray[np.float32]:
    """Return the features behind FC-32 of N candidates, (N, width / 2)."""
    patches = CandidateSet(every_place(places))
    device = next(student.parameters()).device
    student.eval()
    features = []
    for first in range(0, len(places), BATCH):
        batch = torch.stack([patches[index][0] for index in range(first, min(first + BATCH, len(places)))])
        features.append(student.classifier.embed(student.extractor(batch.to(device))[2]).cpu())
    return torch.cat(features).numpy()
