"""Many engines and adapters in simulated time, with the decisions that the gateway makes in earnest.

Where adapters are at home, which replica a request goes to and whose turn a LoRA slot is are decided by the
gateway's own code; what is simulated is the engines, by speeds that were measured, and the arrivals. It
stands on gateway/placement and gateway/admission.
"""
