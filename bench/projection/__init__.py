"""Month-end projections of daily series, against Holt-Winters and the mean day."""
