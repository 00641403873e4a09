"""What a series lets expect: arrays in, arrays out."""
