"""Tests of the stage report."""
