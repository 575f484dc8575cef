"""The control plane where gateways run on other machines too."""
