"""Dated history by remote write."""
