"""The user interface of the CMMDetect panel, one section per file. No algorithm lives here."""
