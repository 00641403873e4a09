"""Findings and their causes."""
