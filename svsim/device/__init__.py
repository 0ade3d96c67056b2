"""The machine at hand and the optional packages: what capture, calibration and validation share."""
