"""PyTriton as a peer: Triton Inference Server with a function of Python as its model."""
