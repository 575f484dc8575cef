"""HTTP/1.1 on both sides: clients' connections under uvicorn, kept connections to engines, event streams
on their way, and worker processes; it knows bytes and bounds, never tasks.
"""
