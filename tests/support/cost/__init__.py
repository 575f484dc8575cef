"""What requests cost of the gateway's own code: calls, bytecodes, CPU time."""
