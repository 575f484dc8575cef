"""What several gateways agree on through Redis or Valkey: the way there, leases, and what holds without it.

It stands on configuration and errors; without `shared` in the configuration nothing of it is used, and the
client library is not imported.
"""
