"""Files for the clusters that people have: Ray Jobs, KubeRay, Slurm, containers, schedulers: docs/deploy.md.

Nothing of maskmill imports this folder. Its scripts stand alone, because they run where maskmill may be missing.
"""
