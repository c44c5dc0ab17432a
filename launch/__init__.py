"""Starts jobs: on TPU VMs, GKE, XManager, Slurm, a GPU box, or here.

One description of what is run (`job`), one module for each target that turns it
into commands and manifests, one place that runs other programs (`programs`),
and one program that every host of every target starts (`worker`).
"""
