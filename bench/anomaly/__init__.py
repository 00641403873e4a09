"""How good anomaly findings are, on labelled series of classes that they were not developed on."""
