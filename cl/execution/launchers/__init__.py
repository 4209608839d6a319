"""Where nodes are computed: in this process, on a Ray cluster, or as Slurm jobs."""
