"""Files and batches, as OpenAI has them: their routes, and a file on its way to disk."""
