#!/bin/bash
# Sixteen tasks of SLURM fill parts of one store, and one more job joins them when all have ended:
#
#     array=$(sbatch --parsable examples/slurm_array.sh features.ptr)
#     sbatch --dependency=afterok:$array --wrap "ptrarray join features.ptr"
#
# A task that failed is sent again with --array=7, say: it goes on with its part.
#SBATCH --job-name=features
#SBATCH --array=0-15
#SBATCH --cpus-per-task=4
#SBATCH --requeue
set -eu
exec "${PYTHON:-python}" "${TASK:-examples/slurm_task.py}" "$1"
