"""The Stages section: which candidates are in view, and the number of candidates after each stage."""

from slicer.i18n import tr as _

from CMMDetectLib.candidates import Stage, at_stage
from CMMDetectLib.review_state import ShownFilter


class StagesSection:
    """Shows the number of candidates that passed each stage beside the check box that shows or hides them.

    Parameters
    ----------
    ui : the panel's widgets
    parameters : returns the parameter node, which the check boxes are bound to
    """

    def __init__(self, ui, parameters):
        self._parameters = parameters
        self._session = None
        self._counted = None
        self._boxes = {
            Stage.FINAL: (ui.finalCheckBox, _("Final")),
            Stage.DISCRIMINATION: (ui.discriminationCheckBox, _("Stage 2, discrimination")),
            Stage.DETECTION: (ui.detectionCheckBox, _("Stage 1, detection")),
        }

    def shownFilter(self):
        """Return which candidates are in view."""
        parameters = self._parameters()
        chosen = {
            Stage.FINAL: parameters.showFinal,
            Stage.DISCRIMINATION: parameters.showDiscrimination,
            Stage.DETECTION: parameters.showDetection,
        }
        stages = tuple(stage for stage, shown in chosen.items() if shown)
        return ShownFilter(stages, parameters.minDetection, parameters.minDiscrimination)

    def setSession(self, session):
        """Show the numbers of another review, or of none."""
        if self._session is not None:
            self._session.remove_listener(self._showCounts)
        self._session, self._counted = session, None
        if session is not None:
            session.add_listener(self._showCounts)
        self._showCounts()

    def _showCounts(self, _ids=None):
        """Show the numbers, except in a blind read, where they would reveal what the detector found."""
        session = self._session
        candidates = session.candidates if session is not None and not session.blind else ()
        counts = {stage: len(at_stage(candidates, stage)) for stage in Stage}
        # a verdict seldom changes a number, and texts that stay the same need not be set
        if counts == self._counted:
            return
        self._counted = counts
        for stage, (box, text) in self._boxes.items():
            box.setText(_("{stage} ({count})").format(stage=text, count=counts[stage]) if candidates else text)
