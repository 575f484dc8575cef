"""Rates and budgets: what keys, tenants and tasks have used, exact over all workers, and who may go on.

It stands on configuration and errors, and offers a reservation or an error.
"""
