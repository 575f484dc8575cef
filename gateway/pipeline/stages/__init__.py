"""One stage of a pipeline: its prompt and schema made of templates, its sampling, and its calls to a task
or to another model.
"""
