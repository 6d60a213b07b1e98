"""CMMDetectTrain: simulation, training and evaluation for the CMMDetect detector."""
