"""Handles on one model: plain and awaited, and the checked data that they return."""
