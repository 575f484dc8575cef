"""Where a request's bytes go: to an engine directly or in a task, to its shadow, or to another model; it
stands on dialects, routing and admission, and offers endpoints a way to answer.
"""
