"""Worker processes: one per loaded version, forked from a zygote that has imported the platform.

The node's side (`loader`, `servable`, `link`, `zygote_client`, `zygotes`) and the child's side
(`zygote`, `process`) meet in `frames` and `control`. Nothing of the node's side imports a platform.
"""
