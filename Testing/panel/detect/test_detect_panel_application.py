"""The tests that CTest runs inside the application also pass in the test host."""

import sys
import unittest
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "Slicer"


def test_the_tests_for_the_application_pass_in_the_host(detect_panel):
    sys.path.append(str(FOLDER))
    suite = unittest.defaultTestLoader.loadTestsFromName("CMMDetectPanelTest")
    result = unittest.TestResult()
    suite.run(result)
    assert result.testsRun == 4
    assert not result.failures + result.errors, result.failures + result.errors
