"""The Qt side of the CMMDetect panel, one section of the panel a file. No algorithm lives here."""
