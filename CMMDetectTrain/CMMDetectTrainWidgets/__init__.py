"""The user interface of the CMMDetectTrain panel, one section per file. No algorithm lives here."""
